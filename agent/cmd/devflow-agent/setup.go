package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/agent/internal/setup"
	"devflowbackup/shared/wire"
)

// mariaDB is a word for --print: it speaks the engine mysql, with other rights.
const mariaDB = "mariadb"

// setupFlags are the command line of setup.
type setupFlags struct {
	setup.Options
	print     string
	group     string
	passwords bool
	output    string
}

func (s *setupFlags) script() (engine.Script, error) {
	r := engine.SetupRequest{InPlace: s.InPlace, Databases: s.Databases, Paths: s.SQLite, Group: s.group}
	if !s.passwords {
		r.Account = setup.Account(s.Config)
	}
	name := s.print
	if name == mariaDB {
		name, r.MariaDB = wire.EngineMySQL, true
	}
	script, err := engines.Setup(name, r)
	if err != nil {
		return script, errUsage{fmt.Errorf("--print: %w; for MariaDB %s", err, mariaDB)}
	}
	return script, nil
}

func setupCommand(file *string) *cobra.Command {
	var s setupFlags
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Find the database servers of this host, and write the configuration for them",
		Long: `Finds the PostgreSQL, MariaDB and MySQL servers that listen on sockets of this host, and takes the SQLite files that --sqlite names; writes
the configuration for them, and checks it as the account that the agent runs as. It needs root. A configuration that has instances already
is left as it is, and what it lacks is printed.

The servers know the agent by its account of this host: PostgreSQL for backups and restores, MariaDB and MySQL for backups. Passwords that lie
about in option files are not used. For the accounts that MariaDB and MySQL restore as, setup makes passwords in files of the agent.

No database is changed, unless --grant is given: then each server's superuser, who must be allowed in without a password, runs the script that
--print shows, and lines for the role that restores are put first into pg_hba.conf and pg_ident.conf. It may be run again.

What is still needed is printed with the statements and commands for it, and is no error: the exit status tells whether setup could do its work.`,
		Example: `  devflow-agent setup --print postgresql --in-place --database shop
  devflow-agent setup --grant --sqlite /srv/app/database`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s.Config = *file
			switch {
			case s.output != "text" && s.output != "json":
				return errUsage{fmt.Errorf("--output is %q: allowed are text, json", s.output)}
			case s.print == "" && (s.passwords || s.group != ""):
				return errUsage{errors.New("--passwords and --group are for --print")}
			case len(s.Databases) > 0 && !s.InPlace:
				return errUsage{errors.New("--database is for --in-place")}
			}
			if s.print != "" {
				script, err := s.script()
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(cmd.OutOrStdout(), script)
				return err
			}
			report, err := setup.Run(cmd.Context(), s.Options)
			if report.State == "" {
				return err
			}
			if s.output == "json" {
				encoder := json.NewEncoder(cmd.OutOrStdout())
				encoder.SetIndent("", "  ")
				encoder.SetEscapeHTML(false)
				return errors.Join(err, encoder.Encode(report))
			}
			return errors.Join(report.Print(cmd.OutOrStdout()), err)
		},
	}
	f := cmd.Flags()
	f.StringVar(&s.print, "print", "", "print the setup script of an engine and do nothing else: "+strings.Join(append(engines.Names(), mariaDB), ", "))
	f.BoolVar(&s.passwords, "passwords", false, "with --print: accounts with passwords, for a server on another host")
	f.StringVar(&s.group, "group", "", "with --print sqlite: the group of the programs that use the files")
	f.BoolVar(&s.Grant, "grant", false, "have each server's superuser run the setup script")
	f.BoolVar(&s.Force, "force", false, "replace a configuration that has instances, and keep it beside as .bak")
	f.BoolVar(&s.InPlace, "in-place", false, "with what restores in the place of databases need")
	f.StringArrayVar(&s.Databases, "database", nil, "with --in-place: a database that may be replaced; may be repeated")
	f.StringArrayVar(&s.SQLite, "sqlite", nil, "SQLite file, or directory of such; may be repeated")
	f.StringArrayVar(&s.Sockets, "socket", nil, "look at this socket of MariaDB or MySQL, or directory of PostgreSQL sockets, in place of the usual ones; may be repeated")
	f.StringVar(&s.output, "output", "text", "text or json")
	return cmd
}

// setupChildCommand is what setup starts as another account.
func setupChildCommand() *cobra.Command {
	return &cobra.Command{
		Use: setup.ChildCommand, Short: "Part of setup", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return setup.Child(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
