package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/shared/wire"
)

// packagedAccount is whom the packages run the agent as.
const packagedAccount = "devflow-agent"

// mariaDB is a word for --print: it speaks the engine mysql, with other rights.
const mariaDB = "mariadb"

func printSetup(cmd *cobra.Command, name string, r engine.SetupRequest) error {
	if name == mariaDB {
		name, r.MariaDB = wire.EngineMySQL, true
	}
	script, err := engines.Setup(name, r)
	if err != nil {
		return errUsage{fmt.Errorf("--print: %w, and %s", err, mariaDB)}
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), script)
	return err
}

func setupCommand(_ *string) *cobra.Command {
	var print string
	var r engine.SetupRequest
	var passwords bool
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Print what gives the agent its rights at a database server",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if print == "" {
				return errUsage{errors.New("setup needs --print " + strings.Join(append(engines.Names(), mariaDB), "|"))}
			}
			if r.Account = packagedAccount; passwords {
				r.Account = ""
			}
			return printSetup(cmd, print, r)
		},
	}
	f := cmd.Flags()
	f.StringVar(&print, "print", "", "print the setup script of this engine and do nothing else")
	f.BoolVar(&r.InPlace, "in-place", false, "with what restores in place need")
	f.StringArrayVar(&r.Databases, "database", nil, "database that may be replaced; may be repeated")
	f.BoolVar(&passwords, "passwords", false, "with --print: accounts with passwords, for a server on another host")
	return cmd
}
