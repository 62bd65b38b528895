package main

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/secret"
)

func (c *ctl) storageCommand() *cobra.Command {
	return c.group("storage", "Places for artifacts", c.storageAdd(), c.storageList(), c.storageShow(), c.storageEdit(), c.storageProbe(), c.storageInventory(), c.storageDefault(), c.storageRemove())
}

func (c *ctl) storageAdd() *cobra.Command {
	var in body.CreateStorage
	var secretFile string
	var pathStyle bool
	cmd := &cobra.Command{
		Use: "add NAME --bucket BUCKET | --kind local", Aliases: []string{"create"}, Short: "Add a storage that passes its probe",
		Long: `Add a storage that passes its probe: list, write, read, checksums, multipart, delete are tried on the real bucket.
The secret key comes from a file of mode 0600, or from DEVFLOW_SECRET_KEY; never from the command line, which others can see.

--kind local is the backup directory that the agent of each database's host has in its configuration. Such a backup lies on the same
host as the database: it is lost with it, and only that host can verify and restore it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			in.Name = args[0]
			if in.Kind == controller.StorageLocal {
				if secretFile != "" {
					return usagef("--secret-key-file is not allowed with --kind local, which has a name and a prefix only")
				}
			} else {
				if in.SecretKey, err = c.storageSecret(secretFile); err != nil {
					return err
				}
				if in.AccessKey == "" {
					in.AccessKey = c.env("DEVFLOW_ACCESS_KEY")
				}
			}
			if cmd.Flags().Changed("path-style") {
				in.PathStyle = &pathStyle
			}
			s, err := cl.CreateStorage(cmd.Context(), in)
			if err != nil {
				c.showFailedProbe(err)
				return err
			}
			return c.show(s, storageFacts(s))
		},
	}
	f := cmd.Flags()
	f.StringVar(&in.Kind, "kind", "", "s3, or local: the database's own host (default s3)")
	f.StringVar(&in.Endpoint, "endpoint", "", "URL of the store; AWS by region if absent")
	f.StringVar(&in.Region, "region", "", "region (default us-east-1)")
	f.StringVar(&in.Bucket, "bucket", "", "bucket")
	f.StringVar(&in.Prefix, "prefix", "", "put before every key")
	f.StringVar(&in.Project, "project", "", "only for this project")
	f.StringVar(&in.AccessKey, "access-key", "", "access key id (DEVFLOW_ACCESS_KEY)")
	f.StringVar(&secretFile, "secret-key-file", "", "file with the secret key (or the key in DEVFLOW_SECRET_KEY)")
	f.BoolVar(&pathStyle, "path-style", true, "bucket in the path, not in the host name")
	f.BoolVar(&in.Default, "default", false, "use it for backups that name none")
	f.BoolVar(&in.Force, "force", false, "add it although the probe failed; it is not used before a probe passes")
	return cmd
}

func (c *ctl) storageSecret(file string) (secret.String, error) {
	if file != "" {
		s, err := secret.LoadFile(file)
		if err != nil {
			return "", usageError{err}
		}
		return s, nil
	}
	if s := c.env("DEVFLOW_SECRET_KEY"); s != "" {
		return secret.String(s), nil
	}
	return "", usagef("no secret key: give a file with it by --secret-key-file, or the key in DEVFLOW_SECRET_KEY")
}

func (c *ctl) storageList() *cobra.Command {
	return &cobra.Command{
		Use: "list", Short: "List storages", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			all, err := cl.Storages(cmd.Context())
			if err != nil {
				return err
			}
			return c.show(all, func(t *rows) {
				t.head("ID", "NAME", "KIND", "ENDPOINT", "BUCKET", "PREFIX", "PROJECT", "DEFAULT", "BACKUPS", "USED", "PROBE", "PROBED")
				for _, s := range all {
					t.row(number(s.ID), storageName(s), s.Kind, s.Endpoint, s.Bucket, s.Prefix, storageProject(s), yes(s.IsDefault),
						number(s.Backups), size(s.UsedBytes), probeWord(s), ago(s.ProbedAt))
				}
			})
		},
	}
}

func storageName(s controller.Storage) string {
	if s.Kind == controller.StorageLocal {
		return s.Name + sameHost
	}
	return s.Name
}

func storageProject(s controller.Storage) string {
	if s.ProjectID == nil {
		return "all"
	}
	return number(*s.ProjectID)
}

func probeWord(s controller.Storage) string {
	if s.ProbeOK {
		return "ok"
	}
	return "failed"
}

func storageFacts(s controller.Storage) func(*rows) {
	return func(t *rows) {
		t.fact("id", number(s.ID))
		t.fact("name", storageName(s))
		t.fact("project", storageProject(s))
		t.fact("kind", s.Kind)
		if s.Kind == controller.StorageLocal {
			t.note("A backup here lies on the same host as the database: it is lost with it, and only that host can verify and restore it.")
		} else {
			t.fact("endpoint", s.Endpoint)
			t.fact("region", s.Region)
			t.fact("bucket", s.Bucket)
		}
		t.fact("prefix", s.Prefix)
		t.fact("default", yes(s.IsDefault))
		t.fact("backups", number(s.Backups)+", "+size(s.UsedBytes))
		if s.Kind == controller.StorageS3 {
			t.fact("checksums", s.ChecksumMode)
		}
		t.fact("probe", strings.TrimSuffix(probeWord(s)+", "+ago(s.ProbedAt), ", "))
		probeSteps(t, s.Probe)
	}
}

// probeSteps lists what a probe tried. A report of another shape is left out: --output json has it.
func probeSteps(t *rows, report json.RawMessage) {
	var r struct {
		Steps []struct {
			Name     string `json:"name"`
			OK       bool   `json:"ok"`
			Required bool   `json:"required"`
			Millis   int64  `json:"millis"`
			Detail   string `json:"detail"`
			Hint     string `json:"hint"`
		} `json:"steps"`
		Warnings []string `json:"warnings"`
	}
	if json.Unmarshal(report, &r) != nil {
		return
	}
	if len(r.Steps) > 0 {
		t.section("STEP", "RESULT", "MS", "DETAIL")
	}
	for _, s := range r.Steps {
		word := "ok"
		switch {
		case !s.OK && s.Required:
			word = "FAILED"
		case !s.OK:
			word = "no"
		}
		t.row(s.Name, word, strconv.FormatInt(s.Millis, 10), withHint(s.Detail, s.Hint))
	}
	for _, w := range r.Warnings {
		t.note("warning: %s", w)
	}
}

// showFailedProbe prints the steps of a refused storage before the error.
func (c *ctl) showFailedProbe(err error) {
	var p *body.Problem
	if c.output != outputTable || !errors.As(err, &p) || len(p.Probe) == 0 {
		return
	}
	t := &rows{}
	probeSteps(t, p.Probe)
	_ = t.write(&ctl{out: c.err})
}

func (c *ctl) storageShow() *cobra.Command {
	return &cobra.Command{
		Use: "show STORAGE", Short: "Show one storage with its last probe", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			return showVersion(cmd.Context(), c, func(ctx context.Context) (controller.Storage, error) { return cl.Storage(ctx, args[0]) }, storageFacts)
		},
	}
}

func (c *ctl) storageEdit() *cobra.Command {
	var in body.UpdateStorage
	var name, endpoint, region, secretFile string
	var pathStyle bool
	cmd := &cobra.Command{
		Use: "edit STORAGE", Aliases: []string{"update"}, Short: "Rename a storage, or reach it otherwise; what is not given stays",
		Long: `Rename a storage, or reach it otherwise; what is not given stays. Kind, bucket and prefix never change: its backups are found by them.

A new endpoint or new credentials have to pass a probe, beside those in use; where backups lie on the storage, the newest has to be found.
Only then are they used, at once: nothing that is under way is disturbed. The secret key comes from a file of mode 0600, or from
DEVFLOW_SECRET_KEY.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			given := cmd.Flags().Changed
			for flag, set := range map[string]func(){
				"name": func() { in.Name = &name }, "endpoint": func() { in.Endpoint = &endpoint }, "region": func() { in.Region = &region },
				"path-style": func() { in.PathStyle = &pathStyle },
			} {
				if given(flag) {
					set()
				}
			}
			cl, err := c.client()
			if err != nil {
				return err
			}
			if in.AccessKey != "" || secretFile != "" {
				if in.SecretKey, err = c.storageSecret(secretFile); err != nil {
					return err
				}
			} else if in.Name == nil && in.Endpoint == nil && in.Region == nil && in.PathStyle == nil {
				return usagef("change what? Give --name, --endpoint, --region, --path-style, --access-key or --secret-key-file")
			}
			s, err := cl.UpdateStorage(cmd.Context(), args[0], in)
			if err != nil {
				c.showFailedProbe(err)
				return err
			}
			return c.show(s, storageFacts(s))
		},
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "new name")
	f.StringVar(&endpoint, "endpoint", "", "URL of the store; empty is AWS by region")
	f.StringVar(&region, "region", "", "region")
	f.BoolVar(&pathStyle, "path-style", true, "bucket in the path, not in the host name")
	f.StringVar(&in.AccessKey, "access-key", "", "new access key id, with its secret key")
	f.StringVar(&secretFile, "secret-key-file", "", "file with the new secret key (or the key in DEVFLOW_SECRET_KEY)")
	f.BoolVar(&in.Force, "force", false, "keep the change although the probe failed; the storage is not used before a probe passes")
	return matchFlag(cmd)
}

func (c *ctl) storageProbe() *cobra.Command {
	return &cobra.Command{
		Use: "probe STORAGE", Short: "Try a storage again; fails if the storage does", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.ProbeStorage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.show(s, storageFacts(s)); err != nil {
				return err
			}
			if !s.ProbeOK {
				return errors.New("the storage did not pass its probe")
			}
			return nil
		},
	}
}

func (c *ctl) storageDefault() *cobra.Command {
	return matchFlag(&cobra.Command{
		Use: "default STORAGE", Short: "Use a storage for backups that name none", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			s, err := cl.SetDefaultStorage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.done("storage %s is the default", s.Name)
		},
	})
}

func (c *ctl) storageRemove() *cobra.Command {
	return matchFlag(&cobra.Command{
		Use: "remove STORAGE", Aliases: []string{"delete"}, Short: "Forget a storage that holds no backup", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			if err := cl.DeleteStorage(cmd.Context(), args[0]); err != nil {
				return err
			}
			return c.done("storage %s is removed", args[0])
		},
	})
}
