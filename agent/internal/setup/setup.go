// Package setup makes the configuration of an agent from what lies on its host: it looks for database servers, writes the file, has the
// servers' superusers give the agent its rights if that is asked for, and checks all of it.
//
// It copies no password that it finds, and changes no database unless it is told to. A configuration that says of instances what somebody
// wrote is left as it is. Whatever a server gets to see comes from a process of the account that it is meant for: the service's for
// checks, the server's own for rights.
package setup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/shared/wire"
)

// PackagedAccount is whom the packages run the agent as.
const PackagedAccount = "devflow-agent"

// ErrNotRoot says that setup was run by somebody who cannot do it.
var ErrNotRoot = errors.New("setup needs root, to look at servers and to write the configuration: run it with sudo. " +
	"`devflow-agent setup --print ENGINE` prints what a database's administrator runs, and needs no rights")

// Options say what is to be set up.
type Options struct {
	Config    string   // file
	Force     bool     // also in place of a configuration that has instances
	Grant     bool     // run the scripts
	InPlace   bool     // restores in the place of Databases
	Databases []string // that may be replaced
	SQLite    []string // files and directories
	// Sockets are looked at in place of the usual ones: directories of PostgreSQL, sockets of MySQL and MariaDB.
	Sockets []string
	// StateDir is the state directory where the configuration names none; by default that of the packages.
	StateDir string
	// Child is the command that runs Child, as another account; by default that of the agent.
	Child []string
}

// States of a configuration file after Run.
const (
	Written   = "written"
	Unchanged = "unchanged"
)

// Report is what was found and done.
type Report struct {
	Config    string     `json:"config"`
	State     string     `json:"state"` // Written or Unchanged
	Kept      string     `json:"kept,omitempty"`
	Account   string     `json:"account"`
	Instances []Instance `json:"instances"`
	Mentions  []string   `json:"mentions"`
	// Missing are the lines for servers that were found and that the configuration, which was left as it is, does not have.
	Missing string `json:"missing,omitempty"`
	Needs   []Need `json:"needs"`
}

// Instance is one of the configuration.
type Instance struct {
	Name      string   `json:"name"`
	Engine    string   `json:"engine"`
	FoundAt   string   `json:"found_at"`
	Version   string   `json:"version"`
	Databases []string `json:"databases"`
	State     string   `json:"state"` // Ready, Limited or Blocked
}

// States of an instance.
const (
	Ready   = "ready"
	Limited = "works, not all"
	Blocked = "needs something"
)

// Need is something that a person is to do.
type Need struct {
	Instance string `json:"instance,omitempty"`
	What     string `json:"what"`
	How      string `json:"how"`
}

// found is a server with the engine it is of.
type found struct {
	engine string
	engine.Local
}

type run struct {
	o       Options
	account *user.User
	uid     int
	gid     int
	state   string // directory
	servers []found
	report  Report
}

// Run does it. It fails if it could not do its work; what people are to do besides is no error and stands in the report.
func Run(ctx context.Context, o Options) (Report, error) {
	if os.Geteuid() != 0 {
		return Report{}, ErrNotRoot
	}
	var err error
	if o.Config, err = filepath.Abs(o.Config); err != nil {
		return Report{}, fmt.Errorf("configuration: %w", err)
	}
	r := &run{o: o, report: Report{Config: o.Config, Instances: []Instance{}, Mentions: []string{}, Needs: []Need{}}}
	if err := r.files(); err != nil {
		return Report{}, err
	}
	old, err := r.read()
	if err != nil {
		return Report{}, err
	}
	if r.state = cmp.Or(r.o.StateDir, config.Default().StateDir); old != nil {
		r.state = old.StateDir
	}
	if err := r.who(); err != nil {
		return Report{}, err
	}
	r.find(ctx)
	if err := r.write(old); err != nil {
		return r.report, err
	}
	cfg, err := config.LoadFile(o.Config, engines.Names())
	if err != nil {
		return r.report, err
	}
	var failed error
	if o.Grant {
		failed = r.grant(ctx, cfg)
	}
	if err := r.check(ctx, cfg); err != nil {
		return r.report, errors.Join(failed, err)
	}
	return r.report, failed
}

// Account is the operating system's account that the agent of a configuration runs as: the owner of its state directory, else the
// packages'.
func Account(file string) string {
	cfg, err := config.LoadFile(file, engines.Names())
	if err != nil {
		cfg = config.Default()
	}
	if u, err := owner(cfg.StateDir); err == nil {
		return u.Username
	}
	return PackagedAccount
}

func owner(dir string) (*user.User, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("look at state directory: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, errors.ErrUnsupported
	}
	u, err := user.LookupId(strconv.Itoa(int(st.Uid)))
	if err != nil {
		return nil, fmt.Errorf("owner of %s: %w", dir, err)
	}
	return u, nil
}

func (r *run) who() (err error) {
	if r.account, err = owner(r.state); errors.Is(err, fs.ErrNotExist) {
		r.account, err = user.Lookup(PackagedAccount)
	}
	if err != nil {
		return fmt.Errorf("whom does the agent run as? Install the package, or run `devflow-agent install`: %w", err)
	}
	r.report.Account = r.account.Username
	if r.uid, err = strconv.Atoi(r.account.Uid); err == nil {
		r.gid, err = strconv.Atoi(r.account.Gid)
	}
	if err != nil {
		return fmt.Errorf("account %s: %w", r.account.Username, err)
	}
	return nil
}

// files refuses paths of SQLite databases that no configuration could have.
func (r *run) files() error {
	for i, path := range r.o.SQLite {
		path, err := filepath.Abs(path)
		if err == nil {
			path, err = filepath.EvalSymlinks(path) // the agent follows no links
		}
		if err != nil {
			return fmt.Errorf("--sqlite: %w", err)
		}
		r.o.SQLite[i] = path
	}
	return nil
}

func (r *run) find(ctx context.Context) {
	for _, name := range engines.Names() {
		local, ok := engines.Local(name)
		if !ok {
			continue
		}
		places := local.Places()
		if len(r.o.Sockets) > 0 {
			places = engine.Places{}
			for _, path := range r.o.Sockets {
				if info, err := os.Stat(path); err == nil && info.IsDir() == (name == wire.EnginePostgreSQL) {
					places.Sockets = append(places.Sockets, path)
				}
			}
		}
		servers, mentions := local.Find(ctx, places)
		for _, one := range servers {
			r.servers = append(r.servers, found{name, one})
		}
		for _, m := range mentions {
			r.report.Mentions = append(r.report.Mentions, m.Text)
		}
	}
	for _, one := range r.servers {
		if strings.HasPrefix(one.Socket, "/tmp/") && len(r.o.Sockets) == 0 {
			r.need("", one.Socket+" lies in /tmp, of which the service has its own", "let the server make its socket elsewhere, or run `systemctl edit devflow-agent` and write [Service] and PrivateTmp=no")
		}
	}
}

func (r *run) need(instance, what, how string) {
	n := Need{instance, what, how}
	if !slices.Contains(r.report.Needs, n) {
		r.report.Needs = append(r.report.Needs, n)
	}
}

// instance is the configuration for a server.
func (r *run) instance(one found) config.Instance {
	in := config.Instance{Name: one.Name, Engine: one.engine, Host: one.Host, Port: one.Port, User: r.account.Username}
	in.Restore = config.Restore{User: engine.RestoreUser, InPlace: r.o.InPlace}
	if one.engine == wire.EngineMySQL {
		in.Restore.PasswordFile = r.passwordFile(one.Name, "restore")
		if r.o.InPlace {
			in.Restore.SwapUser, in.Restore.SwapPasswordFile = engine.SwapUser, r.passwordFile(one.Name, "swap")
		}
	}
	return in
}

// server is what was found of an instance.
func (r *run) server(in config.Instance) (found, bool) {
	for _, one := range r.servers {
		local, _ := engines.Local(one.engine)
		if one.engine == in.Engine && local.Covers(one.Local, in.Host, in.Port) {
			return one, true
		}
	}
	return found{}, false
}
