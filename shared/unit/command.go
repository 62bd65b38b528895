package unit

import (
	"errors"

	"github.com/spf13/cobra"
)

// Commands are install, uninstall, start, stop, restart, reload and status. file is where the flag for the configuration file is kept, and
// standard the file that the service reads if that is empty.
func Commands(d Daemon, file *string, standard string) []*cobra.Command {
	config := func() string {
		if *file == "" {
			return standard
		}
		return *file
	}
	var r Request
	install := &cobra.Command{
		Use: "install", Short: "Make this program a service of the host, where no package has", Args: cobra.NoArgs,
		Long: `Makes this program a service of the host, which runs as an account of its own and is started at boot: under systemd with the
unit that the packages have, else for SysV or OpenRC. Makes the account and the directories, and a configuration that explains every
key, if there is none. Does not start it.

Where the service came with a package, nothing is changed.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r.Config = config()
			return d.Install(cmd.Context(), r, cmd.OutOrStdout())
		},
	}
	install.Flags().StringVar(&r.User, "user", "", "account that the service runs as (default "+d.Name+", which is made)")
	commands := []*cobra.Command{install, {
		Use: "uninstall", Short: "Stop the service and remove it; configuration and state stay", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.Uninstall(cmd.OutOrStdout()) },
	}}
	for _, a := range []struct{ action, short string }{
		{"start", "Start the service"},
		{"stop", "Stop the service, which first waits for what is under way"},
		{"restart", "Stop the service and start it again"},
	} {
		commands = append(commands, &cobra.Command{
			Use: a.action, Short: a.short, Args: cobra.NoArgs,
			RunE: func(*cobra.Command, []string) error { return d.Control(a.action) },
		})
	}
	var pid int
	reload := &cobra.Command{
		Use: "reload", Short: "Make the running program read its configuration anew", Args: cobra.NoArgs,
		Long: `Makes the running program read its configuration anew, by SIGHUP. What came of it stands in its log. A configuration with a
mistake is told here and changes nothing.`,
		RunE: func(*cobra.Command, []string) error { return d.Reload(config(), pid) },
	}
	reload.Flags().IntVar(&pid, "pid", 0, "the running program (default the process that works on the state directory)")
	return append(commands, reload, &cobra.Command{
		Use: "status", Short: "Tell whether the service runs; exit status 3 if it does not", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return d.Status(config(), cmd.OutOrStdout()) },
	})
}

// ExitNotRunning is the exit status for ErrNotRunning, as the Linux Standard Base has it.
const ExitNotRunning = 3

// NotRunning tells whether err is status's word that the program does not run.
func NotRunning(err error) bool { return errors.Is(err, ErrNotRunning) }
