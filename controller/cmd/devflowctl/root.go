package main

import (
	"io"
	"os"
	"strings"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"devflowbackup/controller/internal/client"
	"devflowbackup/shared/version"
)

// ctl is one run of the program.
type ctl struct {
	in       io.Reader
	out, err io.Writer
	env      func(string) string

	flags   settings
	profile string // given by a flag
	output  string
	tries   int // of a request; 0: as many as are usual
}

const (
	outputTable = "table"
	outputJSON  = "json"
)

func (c *ctl) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "devflowctl",
		Short: "Back up databases, verify and restore the backups",
		Long: `Back up databases, verify and restore the backups.

The controller and its token come from flags, the environment or ~/.config/devflow/ctl.yaml, in this order:

  --server      DEVFLOW_URL         server        https://backup.example.com:8443
  --token-file  DEVFLOW_TOKEN_FILE  token_file    a file of mode 0600 with the API token
                DEVFLOW_TOKEN                     the token itself
  --ca          DEVFLOW_CA          ca_file       the installation's CA certificate; the system's are used if absent
                DEVFLOW_STORAGE_CA  storage_ca_file  the store's CA certificate, for downloads
  --output                          output        table or json

"devflowctl login" keeps URL, CA and a token, or with --user the session of a person, as a profile, and nothing of this is needed any
more; --profile, or DEVFLOW_PROFILE, names one of several.

"devflowctl completion bash", or zsh, fish, powershell, prints a script that completes commands, flags, and the names and ids of what there is.

Exit status: 0 all went well; 1 something failed; 2 the command line is wrong; 3 there was nothing to back up, or status could not ask.`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error { return group(cmd, args) },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			// Whatever the command does, it prints in one of two ways.
			if err := c.loadOutput(); err != nil {
				return err
			}
			cmd.SilenceUsage = true
			return nil
		},
	}
	root.SetOut(c.out)
	root.SetErr(c.err)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usagef("%w\n  usage: %s", err, cmd.UseLine())
	})
	p := root.PersistentFlags()
	p.StringVar(&c.flags.Server, "server", "", "URL of the controller (DEVFLOW_URL)")
	p.StringVar(&c.flags.TokenFile, "token-file", "", "file with the API token (DEVFLOW_TOKEN_FILE, or the token in DEVFLOW_TOKEN)")
	p.StringVar(&c.flags.CAFile, "ca", "", "file with the installation's CA certificate (DEVFLOW_CA)")
	p.StringVar(&c.profile, "profile", "", "what login keeps and other commands use, where there are several (DEVFLOW_PROFILE)")
	p.StringVarP(&c.flags.Output, "output", "o", "", "table or json")
	root.AddCommand(
		c.projectCommand(), c.serverCommand(), c.databaseCommand(), c.storageCommand(),
		c.backupCommand(), c.restoreCommand(), c.jobCommand(), c.scheduleCommand(), c.pauseCommand(), c.tokenCommand(), c.userCommand(), c.auditCommand(),
		c.preDeployCommand(), c.statisticsCommand(), c.trendsCommand(), c.overviewCommand(), c.statusCommand(), c.eventsCommand(),
		c.loginCommand(), c.logoutCommand(), c.whoamiCommand(), c.sessionCommand(), c.profilesCommand(),
		c.alarmCommand(), c.noticeCommand(), c.muteCommand(), c.channelCommand(),
		c.settingsCommand(),
		c.artifactCommand(), c.keyCommand(), c.versionCommand(),
	)
	wrapArgs(root)
	c.complete(root)
	return root
}

// outFlag is -o for a file, on a command that writes one; there the format is said by --output alone.
func (c *ctl) outFlag(cmd *cobra.Command, file *string, otherwise, usage string) {
	cmd.Flags().StringVarP(file, "out", "o", otherwise, usage)
	cmd.Flags().StringVar(&c.flags.Output, "output", "", "table or json; -o is --out here")
}

// group is what a command that only holds others does.
func group(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	msg := "unknown command %q for %q"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		msg += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return usagef(msg, args[0], cmd.CommandPath())
}

func (c *ctl) group(use, short string, commands ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, RunE: group, SuggestionsMinimumDistance: 2}
	cmd.AddCommand(commands...)
	return cmd
}

// wrapArgs makes a wrong number of arguments a usage error, everywhere.
func wrapArgs(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usagef("%w\n  usage: %s", err, cmd.UseLine())
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		wrapArgs(sub)
	}
}

// client connects with what flags, environment and file say.
func (c *ctl) client() (*client.Client, error) {
	s, err := c.settings()
	if err != nil {
		return nil, err
	}
	s, p, err := c.withProfile(s)
	if err != nil {
		return nil, err
	}
	if s.Server == "" {
		return nil, usagef("which controller? `devflowctl login URL` keeps it; or give its URL by --server or DEVFLOW_URL")
	}
	opt := client.Options{URL: s.Server, UserAgent: "devflowctl/" + version.Version, Tries: c.tries}
	if p != nil && p.Session != "" && c.asProfile() {
		opt.Session = p.session()
	} else if opt.Token, err = c.token(s, p); err != nil {
		return nil, err
	}
	if p != nil && c.flags.CAFile == "" && c.env("DEVFLOW_CA") == "" {
		opt.CAPEM = []byte(p.CA)
	} else if s.CAFile != "" {
		if opt.CAPEM, err = os.ReadFile(s.CAFile); err != nil {
			return nil, usagef("read the CA certificate: %w", err)
		}
	}
	if s.StorageCAFile != "" {
		if opt.StorageCAPEM, err = os.ReadFile(s.StorageCAFile); err != nil {
			return nil, usagef("read the storage's CA certificate: %w", err)
		}
	}
	cl, err := client.New(opt)
	if err != nil {
		return nil, usageError{err}
	}
	return cl, nil
}

// terminal tells whether standard error is one: progress is then redrawn in place.
func (c *ctl) terminal() bool {
	f, ok := c.err.(*os.File)
	return ok && isatty.IsTerminal(f.Fd()) && c.env("TERM") != "dumb"
}
