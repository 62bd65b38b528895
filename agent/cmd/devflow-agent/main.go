// Command devflow-agent runs on a database host: it backs databases up, verifies and restores them, as controllers order
// and its own configuration allows.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"devflowbackup/agent/internal/check"
	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/daemon"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/agent/internal/enroll"
	"devflowbackup/agent/internal/identity"
	"devflowbackup/agent/internal/link"
	"devflowbackup/shared/notify"
	"devflowbackup/shared/owner"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/unit"
	"devflowbackup/shared/version"
)

// Exit statuses. With superseded and revoked, starting again does not help.
const (
	exitError      = 1
	exitUsage      = 2
	exitSuperseded = 3
	exitRevoked    = 4
)

// errChecks says that check has printed errors.
var errChecks = errors.New("something is to be mended")

// errUsage wraps mistakes on the command line.
type errUsage struct{ error }

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(40) // most of the heap are buffers that are used again: a lower peak costs little
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the process at once
	}()
	err := command().ExecuteContext(ctx)
	var usage errUsage
	switch {
	case err == nil:
		return
	case errors.Is(err, link.ErrSuperseded):
		fmt.Fprintln(os.Stderr, "devflow-agent:", err)
		os.Exit(exitSuperseded) //nolint:gocritic // nothing is deferred that the kernel does not do
	case errors.Is(err, link.ErrRevoked):
		fmt.Fprintln(os.Stderr, "devflow-agent:", err)
		os.Exit(exitRevoked)
	case unit.NotRunning(err):
		os.Exit(unit.ExitNotRunning) // all has been said
	case errors.As(err, &usage):
		fmt.Fprintln(os.Stderr, "devflow-agent:", err)
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "devflow-agent:", err)
		os.Exit(exitError)
	}
}

func command() *cobra.Command {
	var file string
	root := &cobra.Command{
		Use:   "devflow-agent",
		Short: "The agent of DevFlow Backup on a database host",
		Long: `The agent of DevFlow Backup on a database host: it backs databases up, verifies and restores them, as controllers order and its
own configuration allows. It connects to the controllers by itself, and listens nowhere unless metrics.listen is set.

A host becomes a server of an installation by enroll, with a token that "devflowctl server token" prints. The configuration
lies in /etc/devflow/agent.yaml, where every key is explained; identity and journal in /var/lib/devflow-agent.

As root, enroll, check and run become the user that the state directory belongs to.

Exit status: 0 all went well; 1 something failed; 2 the command line is wrong; 3 another agent runs with this identity; 4 the
server was revoked.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return errUsage{err} })
	root.PersistentFlags().StringVarP(&file, "config", "c", config.DefaultFile, "configuration file")
	load := func() (config.Config, error) { return config.LoadFile(file, engines.Names()) }
	root.AddCommand(enrollCommand(load), runCommand(load), checkCommand(load), setupCommand(&file), setupChildCommand(), &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), "devflow-agent", version.String())
		},
	})
	root.AddCommand(unit.Commands(service(), &file, config.DefaultFile)...)
	return root
}

// service is the agent as a service of its host.
func service() unit.Daemon {
	return unit.Daemon{
		Name: "devflow-agent", Title: "DevFlow Backup agent", Short: "agent", Verb: "run", Needs: identity.File, Sample: config.Sample, Mode: 0o700,
		Next: "devflow-agent enroll, devflow-agent check, devflow-agent start",
		Read: func(file string) (string, []string, error) {
			cfg, err := config.LoadFile(file, engines.Names())
			return cfg.StateDir, cfg.Writes(), err
		},
	}
}

func enrollCommand(load func() (config.Config, error)) *cobra.Command {
	var r enroll.Request
	var token, tokenFile string
	cmd := &cobra.Command{
		Use:   "enroll --controller https://HOST:PORT (--token TOKEN | --token-file FILE)",
		Short: "Make this host a server of an installation",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			if r.Controller == "" || (token == "") == (tokenFile == "") {
				return errUsage{errors.New("enroll needs --controller, and --token or --token-file")}
			}
			r.Token = secret.String(token)
			if tokenFile != "" {
				if r.Token, err = secret.LoadFile(tokenFile); err != nil {
					return err
				}
			}
			r.StateDir = cfg.StateDir
			if err := owner.Become(cfg.StateDir); err != nil {
				return err
			}
			id, err := enroll.Run(cmd.Context(), r)
			if err != nil {
				return err
			}
			inst := id.Installation()
			fmt.Fprintf(cmd.OutOrStdout(), "enrolled as server %s (%s); identity in %s\nnext: devflow-agent check, then devflow-agent run\n",
				inst.ServerName, inst.ServerID, cfg.StateDir)
			return nil
		},
	}
	cmd.Flags().StringVar(&r.Controller, "controller", "", "URL of a controller")
	cmd.Flags().StringVar(&token, "token", "", "enrolment token; it works once")
	cmd.Flags().StringVar(&tokenFile, "token-file", "", "file with the token, mode 0600: keeps it out of the process list")
	cmd.Flags().BoolVar(&r.Force, "force", false, "replace the identity that this host has")
	return cmd
}

func runCommand(load func() (config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the agent until it is told to stop",
		Long: `Runs the agent until SIGTERM or an interrupt, and then waits for running jobs as limits.drain says. SIGHUP makes it read its
configuration anew: instances, their databases and limits are in force for every job that is accepted from then on, and running jobs go
on under those that they began with. Changes of state_dir, storage.local, log.format and metrics need a restart; a configuration with a
mistake changes nothing. See devflow-agent reload.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			supervisor, err := notify.Open() // first: no program that is started shall get the manager's socket
			if err != nil {
				return err
			}
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			cfg, err := load()
			if err != nil {
				return err
			}
			if err := owner.Become(cfg.StateDir); err != nil {
				return err
			}
			return daemon.New(daemon.Options{
				Config: cfg, Engine: engines.New, Log: logger(cfg.Log), Supervisor: supervisor, Hangup: hangup, Load: load,
			}).Run(cmd.Context())
		},
	}
}

func checkCommand(load func() (config.Config, error)) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Look at the controller, the database servers, their privileges and tools",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := load()
			if err != nil {
				return err
			}
			if err := owner.Become(cfg.StateDir); err != nil {
				return err
			}
			if !check.Print(cmd.OutOrStdout(), check.Run(cmd.Context(), cfg, engines.New, hclog.NewNullLogger())) {
				return errChecks
			}
			return nil
		},
	}
}

func logger(c config.Log) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "agent", Level: hclog.LevelFromString(c.Level), JSONFormat: c.Format == "json",
		Output: os.Stderr, TimeFormat: time.RFC3339Nano, TimeFn: func() time.Time { return time.Now().UTC() },
	})
}
