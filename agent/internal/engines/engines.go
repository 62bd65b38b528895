// Package engines is the list of database engines that this agent is built with. A new engine is one line in it.
package engines

import (
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
	open  func(config.Instance, hclog.Logger) (engine.Engine, error)
	setup func(engine.SetupRequest) engine.Script
}

var list = map[string]compiled{
	wire.EngineMySQL:      {newMySQL, mysql.Setup},
	wire.EnginePostgreSQL: {newPostgres, postgres.Setup},
	wire.EngineSQLite:     {newSQLite, sqlite.Setup},
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
