package main

import (
	"encoding/json"
	"errors"
	"strconv"

	"github.com/spf13/cobra"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/secret"
)

func (c *ctl) storageCommand() *cobra.Command {
	return c.group("storage", "Places for artifacts", c.storageAdd(), c.storageList(), c.storageShow(), c.storageProbe(), c.storageDefault(), c.storageRemove())
}

func (c *ctl) storageAdd() *cobra.Command {
	var in body.CreateStorage
	var secretFile string
	var pathStyle bool
	cmd := &cobra.Command{
		Use: "add NAME --bucket BUCKET", Aliases: []string{"create"}, Short: "Add a storage that passes its probe",
		Long: `Add a storage that passes its probe: list, write, read, checksums, multipart, delete are tried on the real bucket.
The secret key comes from a file of mode 0600, or from DEVFLOW_SECRET_KEY; never from the command line, which others can see.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			cl, err := c.client()
			if err != nil {
				return err
			}
			in.Name = args[0]
			if in.SecretKey, err = c.storageSecret(secretFile); err != nil {
				return err
			}
			if in.AccessKey == "" {
				in.AccessKey = c.env("DEVFLOW_ACCESS_KEY")
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
				t.head("ID", "NAME", "KIND", "ENDPOINT", "BUCKET", "PREFIX", "DEFAULT", "PROBE", "PROBED")
				for _, s := range all {
					t.row(number(s.ID), s.Name, s.Kind, s.Endpoint, s.Bucket, s.Prefix, yes(s.IsDefault), probeWord(s), ago(s.ProbedAt))
				}
			})
		},
	}
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
		t.fact("name", s.Name)
		if s.ProjectID != nil {
			t.fact("project", number(*s.ProjectID))
		}
		t.fact("kind", s.Kind)
		t.fact("endpoint", s.Endpoint)
		t.fact("region", s.Region)
		t.fact("bucket", s.Bucket)
		t.fact("prefix", s.Prefix)
		t.fact("default", yes(s.IsDefault))
		t.fact("checksums", s.ChecksumMode)
		t.fact("probe", probeWord(s)+", "+ago(s.ProbedAt))
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
	for _, s := range r.Steps {
		word := "ok"
		switch {
		case !s.OK && s.Required:
			word = "FAILED"
		case !s.OK:
			word = "no"
		}
		line := word + ", " + strconv.FormatInt(s.Millis, 10) + " ms"
		if s.Detail != "" {
			line += ": " + s.Detail
		}
		t.fact("  "+s.Name, line)
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
			s, err := cl.Storage(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return c.show(s, storageFacts(s))
		},
	}
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
	return &cobra.Command{
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
	}
}

func (c *ctl) storageRemove() *cobra.Command {
	return &cobra.Command{
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
	}
}
