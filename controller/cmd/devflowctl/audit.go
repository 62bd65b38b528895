package main

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/client"
)

func (c *ctl) auditCommand() *cobra.Command {
	return c.group("audit", "Who did what", c.auditList(), c.auditVerify(), c.auditHead(), c.auditExport(), c.auditSecurity())
}

// auditFlags select entries.
type auditFlags struct{ project, action, actor, since, until string }

func (f *auditFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.project, "project", "", "only of a project")
	flags.StringVar(&f.action, "action", "", "only backup.create, say, or all that begin with backup.")
	flags.StringVar(&f.actor, "actor", "", "only of a token's name, a part of the controller such as retention, or a user on whose behalf")
	flags.StringVar(&f.since, "since", "", "only from then on: 2026-01-02, 2026-01-02T03:04, or 24h for that long ago")
	flags.StringVar(&f.until, "until", "", "only before then")
}

func (f *auditFlags) filter() (controller.AuditFilter, error) {
	filter := controller.AuditFilter{Project: f.project, Action: f.action, Actor: f.actor}
	var err error
	if filter.Since, err = past("since", f.since); err == nil {
		filter.Until, err = past("until", f.until)
	}
	return filter, err
}

// past reads a moment, or how long ago it was; nil if there is none.
func past(flag, text string) (*time.Time, error) {
	if text == "" {
		return nil, nil //nolint:nilnil // as it says
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		at := time.Now().Add(-d)
		return &at, nil
	}
	at, err := timeFlag(flag, text)
	if err != nil {
		return nil, err
	}
	return &at, nil
}

func (c *ctl) auditList() *cobra.Command {
	var page pageFlags
	var flags auditFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List who did what, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.filter()
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, next, err := pages(page, func(before int64, n int) ([]controller.AuditEntry, *int64, error) {
				filter.BeforeID, filter.Limit = before, n
				p, err := cl.Audit(cmd.Context(), filter)
				return p.Items, p.NextBeforeID, err
			})
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "AT", "WHO", "FOR", "WHAT", "SUBJECT", "RESULT", "DETAIL", "FROM")
				for _, e := range all {
					t.row(number(e.ID), stamp(&e.At), e.Actor, e.OnBehalfOf, e.Action, e.Subject, e.Result, string(e.Detail), e.Remote)
				}
				more(t, next)
			})
		},
	}
	flags.add(cmd)
	page.add(cmd)
	return cmd
}

func (c *ctl) auditHead() *cobra.Command {
	return &cobra.Command{
		Use: "head", Short: "Print the end of the log's chain", Args: cobra.NoArgs,
		Long: `Print the end of the log's chain as SEQ:HASH.

Kept outside of the installation, it lets "audit verify --head SEQ:HASH" show that nothing before it was changed, and that
nothing after it was cut off.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			head, err := cl.AuditHead(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(head, func(t *rows) { t.note("%s", head.Text()) })
		},
	}
}

func (c *ctl) auditExport() *cobra.Command {
	var flags auditFlags
	var file string
	cmd := &cobra.Command{
		Use: "export", Short: "Write the log as JSON lines, in the order of its chain", Args: cobra.NoArgs,
		Long: `Write the log as JSON lines, in the order of its chain. The export is an entry of the log itself, its last one.

"audit verify --file FILE" checks an export without the controller. A file is replaced once the export is whole.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.filter()
			if err != nil {
				return err
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if file == "" || file == "-" {
				_, err := cl.ExportAudit(cmd.Context(), filter, c.out)
				return err
			}
			var n int64
			lines, w := io.Pipe()
			go func() {
				written, err := cl.ExportAudit(cmd.Context(), filter, w)
				n = written
				w.CloseWithError(err) // io.EOF without one
			}()
			err = writeProven(file, lines)
			_ = lines.CloseWithError(err)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.err, "%s written to %s\n", plural(int(n), "row"), clean(file))
			return nil
		},
	}
	flags.add(cmd)
	c.outFlag(cmd, &file, "", "the file to write; standard output if absent")
	return cmd
}

func (c *ctl) auditVerify() *cobra.Command {
	var heads []string
	var file string
	var filtered bool
	cmd := &cobra.Command{
		Use: "verify", Short: "Verify the log's chain, and name the first row that is wrong", Args: cobra.NoArgs,
		Long: `Verify the log's chain from its first row to its last, against the anchors at the storage and the heads given by --head.
With --file, an export is verified here, without the controller: one made with filters needs --filtered, since its gaps say nothing.

Exit status 1 if anything is wrong.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			known := make([]controller.AuditHead, len(heads))
			for i, text := range heads {
				head, err := controller.ParseAuditHead(text)
				if err != nil {
					return usageError{err}
				}
				known[i] = head
			}
			if filtered && file == "" {
				return usagef("--filtered is for --file")
			}
			var res controller.AuditCheck
			var err error
			if file != "" {
				res, err = c.verifyExport(file, known, filtered)
			} else {
				var cl *client.Client
				if cl, err = c.client(); err == nil {
					res, err = cl.CheckAudit(cmd.Context(), known)
				}
			}
			if err != nil {
				return err
			}
			if err := c.show(res, func(t *rows) { auditResult(t, res) }); err != nil {
				return err
			}
			if !res.OK {
				return fmt.Errorf("the audit log is not as it was written: %s", res.Problem)
			}
			return nil
		},
	}
	cmd.Flags().StringArrayVar(&heads, "head", nil, "SEQ:HASH that was kept; may be given several times")
	cmd.Flags().StringVar(&file, "file", "", "an export to verify; - for standard input")
	cmd.Flags().BoolVar(&filtered, "filtered", false, "the export was made with filters: rows may be left out")
	return cmd
}

func auditResult(t *rows, res controller.AuditCheck) {
	t.fact("Chain", map[bool]string{true: "ok", false: "BAD"}[res.OK])
	t.fact("Rows verified", number(res.Rows))
	t.fact("Head", res.Head.Text())
	t.fact("Anchors compared", strconv.Itoa(res.Anchors))
	if !res.OK {
		bad := "id " + number(res.BadID)
		if res.BadSeq != 0 {
			bad = "seq " + number(res.BadSeq)
			if res.BadID != 0 {
				bad += ", id " + number(res.BadID)
			}
		}
		t.fact("First bad row", bad)
		t.fact("Problem", res.Problem)
	}
	for _, w := range res.Warnings {
		t.note("Warning: %s", w)
	}
}

// verifyExport checks what an export holds.
func (c *ctl) verifyExport(file string, heads []controller.AuditHead, filtered bool) (controller.AuditCheck, error) {
	res := controller.AuditCheck{Warnings: []string{}}
	in := c.in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return res, usagef("read the export: %w", err)
		}
		defer func() { _ = f.Close() }()
		in = f
	}
	known := make([]controller.KnownHead, len(heads))
	for i, h := range heads {
		known[i] = controller.KnownHead{AuditHead: h, Source: "the head given"}
	}
	chain := controller.NewAuditExtract(known, filtered)
	var fault *controller.AuditFault
	err := controller.ReadAuditExport(bufio.NewReaderSize(in, 1<<20), func(e controller.AuditEntry) error {
		if fault = chain.Add(e); fault != nil {
			return fault
		}
		return nil
	})
	if err != nil && fault == nil {
		return res, fmt.Errorf("%s: %w", file, err)
	}
	if fault == nil {
		fault = chain.End()
	}
	res.Rows, res.Head = chain.Rows, chain.Head()
	if fault != nil {
		res.BadSeq, res.BadID, res.Problem = fault.Seq, fault.ID, fault.Problem
		return res, nil
	}
	res.OK = true
	if chain.First > 1 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("the export begins at row %d: what was before it is not verified", chain.First))
	}
	if chain.Gaps > 0 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%d rows between its first and its last are not in the export", chain.Gaps))
	}
	if n := len(known) - chain.Compared; n > 0 {
		res.Warnings = append(res.Warnings, fmt.Sprintf("%d of the heads given are of rows that are not in the export", n))
	}
	return res, nil
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

// pageFlags say which part of a list is shown.
type pageFlags struct {
	limit  int
	before int64
	all    bool
}

func (p *pageFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&p.limit, "limit", 50, "how many")
	f.BoolVar(&p.all, "all", false, "as many as there are")
	f.Int64Var(&p.before, "before", 0, "only ids below this one")
}

// most is how many rows are wanted.
func (p *pageFlags) most() (int, error) {
	if p.limit < 1 || p.before < 0 {
		return 0, usagef("--limit and --before are positive numbers")
	}
	if p.all {
		return math.MaxInt, nil
	}
	return p.limit, nil
}

// pages collects the rows that are wanted, page by page. The second result is where the next ones begin, nil at the end.
func pages[T any](p pageFlags, read func(before int64, n int) ([]T, *int64, error)) ([]T, *int64, error) {
	limit, err := p.most()
	if err != nil {
		return nil, nil, err
	}
	all, before := []T{}, p.before
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

// betweenFlags bound when rows were made.
type betweenFlags struct{ since, until string }

func (b *betweenFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&b.since, "since", "", "only those made from then on: 2026-01-02, 2026-01-02T03:04, or 24h for that long ago")
	cmd.Flags().StringVar(&b.until, "until", "", "only those made before then")
}

func (b *betweenFlags) read() (controller.Between, error) {
	var out controller.Between
	var err error
	if out.Since, err = past("since", b.since); err == nil {
		out.Until, err = past("until", b.until)
	}
	return out, err
}

func more(t *rows, next *int64) {
	if next != nil {
		t.note("There may be more: --before %d", *next)
	}
}
