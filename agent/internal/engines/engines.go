// Package engines is the list of database engines that this agent is built with. A new engine is one line in it.
package engines

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/agent/internal/engine/postgres"
	"devflowbackup/agent/internal/engine/sqlite"
	"devflowbackup/shared/wire"
)

type compiled struct {
	open    func(config.Instance, hclog.Logger) (engine.Engine, error)
	setup   func(engine.SetupRequest) engine.Script
	Servers // none where databases are files
}

// Servers are how an engine's servers on this host are found and set up.
type Servers struct {
	Places func() engine.Places // where they usually are
	Find   func(context.Context, engine.Places) ([]engine.Local, []engine.Mention)
	Covers func(l engine.Local, host string, port int) bool // whether an instance is the server
	Grant  func(context.Context, engine.GrantRequest) error
	// AsServer tells that Grant is for the account that the server runs as, and not for root.
	AsServer bool
}

var list = map[string]compiled{
	wire.EngineMySQL:      {newMySQL, mysql.Setup, Servers{mysql.Places, mysql.Find, mysql.Covers, mysql.Grant, false}},
	wire.EnginePostgreSQL: {newPostgres, postgres.Setup, Servers{postgres.Places, postgres.Find, postgres.Covers, postgres.Grant, true}},
	wire.EngineSQLite:     {newSQLite, sqlite.Setup, Servers{}},
}

// Names lists the engines, sorted.
func Names() []string { return slices.Sorted(maps.Keys(list)) }

// New makes the engine of one configured instance. It does not connect.
func New(in config.Instance, log hclog.Logger) (engine.Engine, error) {
	e, ok := list[in.Engine]
	if !ok {
		return nil, fmt.Errorf("instance %s: this agent has no engine %q", in.Name, in.Engine)
	}
	return e.open(in, log)
}

func newPostgres(in config.Instance, log hclog.Logger) (engine.Engine, error) {
	return postgres.New(postgres.Config{
		Name: in.Name, Host: in.Host, Port: in.Port, User: in.User, Password: in.Password,
		Database: in.Database, SSLMode: in.SSLMode, SSLRootCert: in.SSLRootCert,
		Include: in.Databases.Include, Exclude: in.Databases.Exclude,
		RestoreUser: in.Restore.User, RestorePassword: in.Restore.Password, AllowedExtensions: in.Restore.Extensions,
		BinDirs: in.BinDirs,
	}, log)
}

func newMySQL(in config.Instance, log hclog.Logger) (engine.Engine, error) {
	return mysql.New(mysql.Config{
		Name: in.Name, Host: in.Host, Port: in.Port, User: in.User, Password: in.Password,
		SSLMode: in.SSLMode, SSLRootCert: in.SSLRootCert,
		Include: in.Databases.Include, Exclude: in.Databases.Exclude,
		RestoreUser: in.Restore.User, RestorePassword: in.Restore.Password, Definers: in.Restore.Definers,
		SwapUser: in.Restore.SwapUser, SwapPassword: in.Restore.SwapPassword,
		BinDirs: in.BinDirs,
	}, log)
}

func newSQLite(in config.Instance, log hclog.Logger) (engine.Engine, error) {
	return sqlite.New(sqlite.Config{
		Name: in.Name, Paths: in.Paths, SnapshotDir: in.SnapshotDir,
		Include: in.Databases.Include, Exclude: in.Databases.Exclude,
	}, log)
}

// Setup is the script that gives the agent's accounts their rights at a server of that engine.
func Setup(name string, r engine.SetupRequest) (engine.Script, error) {
	e, ok := list[name]
	if !ok {
		return engine.Script{}, fmt.Errorf("this agent has no engine %q: there are %s", name, strings.Join(Names(), ", "))
	}
	return e.setup(r), nil
}

// Local is how servers of an engine are found on this host; ok is false for one whose databases are files.
func Local(name string) (s Servers, ok bool) {
	s = list[name].Servers
	return s, s.Find != nil
}
