package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/config"
)

// errFindings says that errors have been printed.
var errFindings = errors.New("something is to be mended")

// useDefault takes the file of the service where none is given and there is one.
func (f *flags) useDefault() {
	if f.config != "" {
		return
	}
	if _, err := os.Stat(defaultFile); !errors.Is(err, fs.ErrNotExist) {
		f.config = defaultFile
	}
}

func tell(cmd *cobra.Command, asJSON bool, found []app.Finding) error {
	var fine bool
	var err error
	if asJSON {
		fine, err = app.EncodeFindings(cmd.OutOrStdout(), found)
	} else {
		fine = app.PrintFindings(cmd.OutOrStdout(), found)
	}
	if err == nil && !fine {
		err = errFindings
	}
	return err
}

// configCommand looks at a configuration before it is put in force.
func configCommand(f *flags) *cobra.Command {
	var asJSON, reach bool
	check := &cobra.Command{
		Use: "check", Short: "Look at the configuration, and at the files that it names", Args: cobra.NoArgs,
		Long: `Looks at the configuration as serve would read it, file and environment, and at what it names: files, their modes, certificates and
addresses. With --reach it also asks the catalog and the servers of an external broker. It changes nothing and may run beside the
controller. Without --config it takes /etc/devflow/controller.yaml, if that is there.

Exit status: 0 if there is no error, 1 otherwise.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.useDefault()
			cfg, err := f.load(cmd)
			if err != nil {
				return tell(cmd, asJSON, []app.Finding{{Level: app.FindingError, Check: "configuration", Detail: err.Error()}})
			}
			return tell(cmd, asJSON, app.CheckConfig(cmd.Context(), cfg, f.config, reach, hclog.NewNullLogger()))
		},
	}
	check.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	check.Flags().BoolVar(&reach, "reach", false, "also ask the catalog and the external broker whether they are there")
	keys := &cobra.Command{
		Use: "keys", Short: "List all keys with the environment variables that set them", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			for _, key := range config.Keys() {
				fmt.Fprintf(cmd.OutOrStdout(), "%-24s %s\n", key, config.Variable(key))
			}
		},
	}
	c := &cobra.Command{Use: "config", Short: "The configuration", Args: cobra.NoArgs}
	c.AddCommand(check, keys)
	return c
}

// doctorCommand looks at everything.
func doctorCommand(f *flags) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use: "doctor", Short: "Look at the whole installation, and say what to mend", Args: cobra.NoArgs,
		Long: `Looks at the whole installation and says what to mend: configuration and certificates, disk, catalog, its clock, migrations and rights,
row-level security, master key, this host's controller, the broker, each storage (which is probed), agents that are offline, outdated or in
trouble, jobs that are stuck, databases without good backups, and the chain of the audit log. It changes nothing and may run beside the
controller. Without --config it takes /etc/devflow/controller.yaml, if that is there.

What a host's agent needs there, devflow-agent check tells. Exit status: 0 if there is no error, 1 otherwise; warnings are no errors.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			f.useDefault()
			cfg, err := f.load(cmd)
			if err != nil {
				return tell(cmd, asJSON, []app.Finding{{Level: app.FindingError, Check: "configuration", Detail: err.Error(), Hint: "devflow-controller config keys lists all keys"}})
			}
			return tell(cmd, asJSON, app.Doctor(cmd.Context(), cfg, f.config, hclog.NewNullLogger()))
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}
