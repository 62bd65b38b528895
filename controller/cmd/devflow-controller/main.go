// Command devflow-controller runs one controller: the catalog, the fleet of agents and the HTTP API.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
	_ "time/tzdata" // where the system has no time zone database

	"github.com/hashicorp/go-hclog"
	"github.com/spf13/cobra"

	"devflowbackup/controller/internal/app"
	"devflowbackup/controller/internal/config"
	messages "devflowbackup/controller/internal/notify"
	"devflowbackup/shared/notify"
	"devflowbackup/shared/owner"
	"devflowbackup/shared/unit"
	"devflowbackup/shared/version"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().ExecuteContext(ctx); unit.NotRunning(err) {
		os.Exit(unit.ExitNotRunning) //nolint:gocritic // all has been said, and nothing is deferred that the kernel does not do
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "devflow-controller:", err)
		os.Exit(1)
	}
}

// flags are what may be given beside the configuration file; given ones win over it.
type flags struct {
	config, dataDir, listen, nats string
	embedded                      bool
	secrets                       []string // NAME=VALUE that were taken out of the environment
	writes                        []string // directories that the command makes outside the data directory
}

// load reads and checks the configuration. Root becomes the owner of the data directory.
func (f *flags) load(cmd *cobra.Command) (config.Config, error) {
	cfg, err := f.read(cmd)
	if err != nil {
		return cfg, err
	}
	// No program that is started shall get what is secret; a reload still needs it.
	for _, name := range config.Secrets() {
		if value, ok := os.LookupEnv(name); ok {
			f.secrets = append(f.secrets, name+"="+value)
			if err := os.Unsetenv(name); err != nil {
				return cfg, fmt.Errorf("take %s out of the environment: %w", name, err)
			}
		}
	}
	for _, dir := range f.writes {
		if err := owner.Grant(dir, cfg.DataDir); err != nil {
			return cfg, err
		}
	}
	return cfg, owner.Become(cfg.DataDir)
}

// read is the configuration of file, environment and flags; each wins over the ones before it.
func (f *flags) read(cmd *cobra.Command) (config.Config, error) {
	cfg := config.Default()
	if f.config != "" {
		if err := cfg.LoadFile(f.config); err != nil {
			return cfg, err
		}
	}
	if err := cfg.Environment(append(os.Environ(), f.secrets...)); err != nil {
		return cfg, err
	}
	for _, o := range []struct {
		flag, value string
		into        *string
	}{{"data-dir", f.dataDir, &cfg.DataDir}, {"listen", f.listen, &cfg.Listen}, {"nats-listen", f.nats, &cfg.NATS.Listen}} {
		if cmd.Flags().Changed(o.flag) {
			*o.into = o.value
		}
	}
	cfg.Embedded = f.embedded
	return cfg, cfg.Validate()
}

func command() *cobra.Command {
	root := &cobra.Command{
		Use: "devflow-controller", Short: "Controller of DevFlow Backup", SilenceUsage: true, SilenceErrors: true,
		Long: `Controller of DevFlow Backup: the catalog, the fleet of agents and the HTTP API.

It needs a PostgreSQL database of its own, which catalog.dsn_file names. The packaged service reads /etc/devflow/controller.yaml, where
every key is explained, and keeps keys in /var/lib/devflow-controller. Back up master.key there, apart from the catalog.

The first start makes the installation and prints the recovery key, once, on standard output. As a service it prints none: run
"devflow-controller recovery-key new" then.

As root, commands become the user that the data directory belongs to.`,
		Args: cobra.NoArgs,
	}
	var f flags
	pf := root.PersistentFlags()
	pf.StringVarP(&f.config, "config", "c", "", "configuration file (YAML)")
	pf.StringVar(&f.dataDir, "data-dir", "", "directory of keys, tokens and the embedded PostgreSQL")
	pf.StringVar(&f.listen, "listen", "", "address of the HTTPS API, host:port")
	pf.StringVar(&f.nats, "nats-listen", "", "address of the embedded NATS server, host:port")
	pf.BoolVar(&f.embedded, "embedded", false, "run a private PostgreSQL in the data directory as the catalog")
	root.AddCommand(
		natsCommand(&f), recoveryKeyCommand(&f), userCommand(&f), configCommand(&f), doctorCommand(&f),
		&cobra.Command{Use: "serve", Short: "Run the controller", Long: serveText, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			supervisor, err := notify.Open() // first: no program that is started shall get the manager's socket
			if err != nil {
				return err
			}
			hangup := make(chan os.Signal, 1)
			signal.Notify(hangup, syscall.SIGHUP)
			defer signal.Stop(hangup)
			cfg, err := f.load(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, supervisor, hangup, func() (config.Config, error) { return f.read(cmd) })
		}},
		&cobra.Command{Use: "migrate", Short: "Bring the catalog's schema up to date", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load(cmd)
			if err != nil {
				return err
			}
			applied, err := app.Migrate(cmd.Context(), cfg, logger(cfg))
			if err != nil {
				return err
			}
			if len(applied) == 0 {
				fmt.Println("The catalog is up to date.")
				return nil
			}
			fmt.Println("Applied:", strings.Join(applied, ", "))
			return nil
		}},
		&cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs, Run: func(*cobra.Command, []string) {
			fmt.Println("devflow-controller", version.String())
		}},
		&cobra.Command{
			Use: messages.Command, Short: "Send one message that is given on standard input", Hidden: true, Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error { return messages.Child(cmd.Context(), os.Stdin, os.Stdout) },
		},
	)
	root.AddCommand(unit.Commands(service(), &f.config, defaultFile)...)
	return root
}

const serveText = `Runs the controller until SIGTERM or an interrupt. SIGHUP makes it read its configuration anew: tls and log.level are in force at
once, without a connection being dropped, and changes of other keys are named in the log and need a restart. A configuration with a
mistake changes nothing. See devflow-controller reload.

Every key of the file can be set by an environment variable, which wins over the file: DEVFLOW_NATS_LISTEN for nats.listen. Flags win
over both.`

// defaultFile is the configuration of the service; a controller that is run by hand has none unless told.
const defaultFile = "/etc/devflow/controller.yaml"

// service is the controller as a service of its host.
func service() unit.Daemon {
	return unit.Daemon{
		Name: "devflow-controller", Title: "DevFlow Backup controller", Short: "controller", Verb: "serve", Sample: config.Sample, Mode: 0o711,
		Next: "name the catalog in the configuration, then devflow-controller start",
		Read: func(file string) (string, []string, error) {
			cfg := config.Default()
			err := cfg.LoadFile(file) // not checked: it may not name the catalog yet
			return cfg.DataDir, nil, err
		},
	}
}

// natsCommand is what prepares an external NATS server.
func natsCommand(f *flags) *cobra.Command {
	var to app.NATSExport
	export := &cobra.Command{
		Use: "export DIR", Short: "Write the configuration of an external nats-server into a directory", Args: cobra.ExactArgs(1),
		Long: `Writes nats-server.conf, the accounts and a certificate into DIR. Run the server there with
nats-server -c DIR/nats-server.conf, and give controllers its URL as nats.urls. No key of the installation is written.

For a cluster export once for each server, with a --server-name of its own, --cluster-port, and a --route to each of the others, and
give controllers the URLs of all as nats.urls.`,
		Example: `  devflow-controller nats export nats1 --server-name nats1 --name nats1.example.com --cluster-port 6222 \
    --route nats2.example.com:6222 --route nats3.example.com:6222`,
		RunE: func(cmd *cobra.Command, args []string) error {
			to.Dir = args[0]
			f.writes = []string{to.Dir}
			cfg, err := f.load(cmd)
			if err != nil {
				return err
			}
			first, err := app.ExportNATS(cmd.Context(), cfg, logger(cfg), to)
			if err != nil {
				return err
			}
			if first != nil {
				tellFirst(os.Stdout, first, false)
			}
			fmt.Println("Written:", to.Dir)
			return nil
		},
	}
	export.Flags().StringVar(&to.Host, "host", "", "address that the server shall listen on (default all)")
	export.Flags().IntVar(&to.Port, "port", 4222, "port that the server shall listen on")
	export.Flags().StringSliceVar(&to.Names, "name", nil, "host name or address that agents and controllers call it (default this host's name; may be repeated)")
	export.Flags().StringVar(&to.Server, "server-name", "", "name of the server; each of a cluster has another (default devflow-nats)")
	export.Flags().IntVar(&to.Cluster, "cluster-port", 0, "port for the other servers of a cluster (default: a server by itself)")
	export.Flags().StringSliceVar(&to.Routes, "route", nil, "where another server of the cluster listens for the others, host:port (may be repeated)")
	nats := &cobra.Command{Use: "nats", Short: "External NATS servers", Args: cobra.NoArgs}
	nats.AddCommand(export)
	return nats
}

// recoveryKeyCommand is for whoever lost the recovery key, or never saw it.
func recoveryKeyCommand(f *flags) *cobra.Command {
	renew := &cobra.Command{
		Use: "new", Short: "Make a new recovery key, print it, and make the one before it void", Args: cobra.NoArgs,
		Long: `Makes a new recovery key, encrypts the master key to it, stores that copy in the catalog and prints the key, once.

Use it when the recovery key was lost, may be known to others, or was never seen because the first start was cut off.
The master key stays as it is: nothing else changes, and controllers may run meanwhile. With --embedded stop the
controller first. The key before this one no longer opens the catalog's copy of the master key; copies of the catalog
that were made earlier it still opens.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := f.load(cmd)
			if err != nil {
				return err
			}
			key, err := app.NewRecoveryKey(cmd.Context(), cfg, logger(cfg))
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), `
  recovery key  %s

Write it down and keep it offline. It is not shown again. It opens the copy of the master key that lies in the
catalog; the recovery key before it does so no more.

`, key.Reveal())
			return err
		},
	}
	c := &cobra.Command{Use: "recovery-key", Short: "The key that opens the catalog's copy of the master key", Args: cobra.NoArgs}
	c.AddCommand(renew)
	return c
}

func logger(cfg config.Config) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name: "controller", Level: hclog.LevelFromString(cfg.Log.Level), JSONFormat: cfg.Log.Format == "json", TimeFn: func() time.Time { return time.Now().UTC() },
	})
}

// stopPatience is how long what is under way may take to end.
const stopPatience = 30 * time.Second

func serve(ctx context.Context, cfg config.Config, supervisor *notify.Supervisor, hangup <-chan os.Signal, load func() (config.Config, error)) error {
	log := logger(cfg)
	tell := func(err error) {
		if err != nil {
			log.Warn("service manager", "err", err)
		}
	}
	a := app.New(cfg, log)
	startErr := a.Start(ctx)
	if first := a.First(); first != nil {
		tellFirst(os.Stdout, first, supervisor != nil)
	}
	if startErr != nil {
		return startErr
	}
	log.Info("controller ready", "url", a.URL(), "version", version.String(), "data_dir", cfg.DataDir)
	tell(supervisor.Ready("the API answers at " + a.URL()))
	watchCtx, stopWatch := context.WithCancel(context.WithoutCancel(ctx))
	var watch sync.WaitGroup
	watch.Go(func() {
		supervisor.Watch(watchCtx, a.Alive, func(err error) { log.Error("no sign of life for the service manager", "err", err) })
	})
	var err error
	for ended := false; !ended; {
		select {
		case <-hangup:
			tell(supervisor.Reloading())
			tell(supervisor.Ready(reload(a, log, load)))
		case <-ctx.Done():
			log.Info("controller stopping")
			ended = true
		case err = <-a.Failed():
			ended = true
		}
	}
	stopWatch() // what it asks stops now; the time of the stop is bounded by itself
	watch.Wait()
	tell(supervisor.Stopping(stopPatience+10*time.Second, "stopping"))
	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopPatience)
	defer cancel()
	return errors.Join(err, a.Stop(stopCtx))
}

// reload reads the configuration anew and says what came of it.
func reload(a *app.App, log hclog.Logger, load func() (config.Config, error)) string {
	cfg, err := load()
	if err == nil {
		err = a.Reload(cfg)
	}
	if err != nil {
		log.Error("the configuration is not read anew: the one before stays in force", "err", err)
		return "the changed configuration has a mistake, and the one before stays in force: " + err.Error()
	}
	return "the API answers at " + a.URL()
}

// tellFirst prints what only the first start knows. The recovery key is printed here and nowhere else, ever; but not where the
// output is a log that is kept.
func tellFirst(w io.Writer, f *app.FirstStart, logged bool) {
	key, advice := f.RecoveryKey.Reveal(), `Write the recovery key down and keep it offline. It is not shown again. It opens`
	if logged {
		key, advice = "not shown in a log: devflow-controller recovery-key new makes and prints one", `Make a recovery key now, and keep it offline. It opens`
	}
	fmt.Fprintf(w, `
This is a new installation.

  master key    %s   (mode 0600; every controller needs it; back it up apart from the catalog)
  CA            %s
  admin token   %s   (mode 0600)
  recovery key  %s

%s the copy of the master key that
lies in the catalog, for the day when the master key file is lost.

`, f.MasterKeyFile, f.CAFile, f.AdminTokenFile, key, advice)
}
