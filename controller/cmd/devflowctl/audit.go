package main

import (
	"github.com/spf13/cobra"

	"devflowbackup/controller"
)

func (c *ctl) auditCommand() *cobra.Command {
	return c.group("audit", "Who did what", c.auditList(), c.auditSecurity())
}

func (c *ctl) auditList() *cobra.Command {
	var project string
	var limit int
	var before int64
	cmd := &cobra.Command{
		Use: "list", Short: "List who did what, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, next, err := pages(limit, before, func(before int64, n int) ([]controller.AuditEntry, *int64, error) {
				p, err := cl.Audit(cmd.Context(), project, before, n)
				return p.Items, p.NextBeforeID, err
			})
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "AT", "WHO", "WHAT", "SUBJECT", "DETAIL", "FROM")
				for _, e := range all {
					t.row(number(e.ID), stamp(&e.At), e.Actor, e.Action, e.Subject, string(e.Detail), e.Remote)
				}
				more(t, next)
			})
		},
	}
	cmd.Flags().StringVar(&project, "project", "", "only of a project")
	pageFlags(cmd, &limit, &before)
	return cmd
}

func (c *ctl) auditSecurity() *cobra.Command {
	return &cobra.Command{
		Use: "security", Short: "List what only a fault, a clone or an attack explains", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.SecurityEvents(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "AT", "KIND", "SERVER", "COUNT", "DETAIL")
				for _, e := range all {
					server := ""
					if e.ServerID != nil {
						server = number(*e.ServerID)
					}
					t.row(number(e.ID), stamp(&e.At), e.Kind, server, number(e.Count), e.Detail)
				}
			})
		},
	}
}

const pageSize = 200

func pageFlags(cmd *cobra.Command, limit *int, before *int64) {
	cmd.Flags().IntVar(limit, "limit", 50, "how many")
	cmd.Flags().Int64Var(before, "before", 0, "only ids below this one")
}

// pages collects up to limit rows. The second result is where the next ones begin, nil at the end.
func pages[T any](limit int, before int64, read func(before int64, n int) ([]T, *int64, error)) ([]T, *int64, error) {
	if limit < 1 || before < 0 {
		return nil, nil, usagef("--limit and --before are positive numbers")
	}
	all := []T{}
	for {
		part, next, err := read(before, min(limit-len(all), pageSize))
		if err != nil {
			return nil, nil, err
		}
		all = append(all, part...)
		if next == nil || len(all) >= limit || len(part) == 0 {
			return all, next, nil
		}
		before = *next
	}
}

func more(t *rows, next *int64) {
	if next != nil {
		t.note("There may be more: --before %d", *next)
	}
}
