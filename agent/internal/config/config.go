// Package config reads the agent's YAML file. The file is the host's word on what the agent may do, and nothing that a
// controller sends can widen it.
//
// Default gives every setting a value, Load reads a file over it, Validate checks the result. An unknown key is an error.
// Every error names the file, the key, its value and what is allowed; none shows a password.
package config

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// DefaultFile is where the agent looks for its configuration.
const DefaultFile = "/etc/devflow/agent.yaml"

// Config is the agent's configuration.
type Config struct {
	StateDir    string     `yaml:"state_dir"`   // identity and journal; 0700
	Concurrency int        `yaml:"concurrency"` // jobs side by side
	Log         Log        `yaml:"log"`
	Instances   []Instance `yaml:"instances"`
	Storage     Storage    `yaml:"storage"`
	Limits      Limits     `yaml:"limits"`
	Metrics     Metrics    `yaml:"metrics"`
}

// Metrics says whether and where /metrics is served, for Prometheus.
type Metrics struct {
	Listen    string `yaml:"listen"`     // host:port; empty: nowhere
	TokenFile string `yaml:"token_file"` // holds a bearer token; needed for an address that other hosts reach

	Token secret.String `yaml:"-"` // of TokenFile
}

// minToken is the least length of a token in a file, in bytes.
const minToken = 16

func (m Metrics) validate() error {
	if m.Listen == "" {
		if m.TokenFile != "" {
			return errors.New("token_file is set and listen is not: give both or none")
		}
		return nil
	}
	host, port, err := net.SplitHostPort(m.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("listen is %q: give host:port, such as 127.0.0.1:9187", m.Listen)
	}
	if addr, err := netip.ParseAddr(host); m.TokenFile == "" && host != "localhost" && (err != nil || !addr.Unmap().IsLoopback()) {
		return fmt.Errorf("listen is %q, which other hosts can reach: set token_file too, or listen at 127.0.0.1", m.Listen)
	}
	return nil
}

// Log says what is logged and how.
type Log struct {
	Level  string `yaml:"level"`  // trace, debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// Instance is one database server.
type Instance struct {
	Name         string        `yaml:"name"`
	Engine       string        `yaml:"engine"`
	Host         string        `yaml:"host"` // host name, address, or directory of the socket
	Port         int           `yaml:"port"`
	User         string        `yaml:"user"`
	Password     secret.String `yaml:"password"`
	PasswordFile string        `yaml:"password_file"`
	Database     string        `yaml:"database"` // postgresql: the one that the agent connects to for what is about the server; default: postgres
	SSLMode      string        `yaml:"sslmode"`
	SSLRootCert  string        `yaml:"ssl_root_cert"`
	Paths        []string      `yaml:"paths"`        // sqlite: files, or directories in which files may be backed up and restored
	SnapshotDir  string        `yaml:"snapshot_dir"` // sqlite: where copies of databases in use are made; default: snapshots in state_dir
	Databases    Databases     `yaml:"databases"`
	Restore      Restore       `yaml:"restore"`
	BinDirs      []string      `yaml:"bin_dirs"` // where dump and restore tools are looked for
}

// Databases says by name which databases may be backed up. "*" stands for any characters, "?" for one.
type Databases struct {
	Include []string `yaml:"include"`
	Exclude []string `yaml:"exclude"` // wins
}

// Restore says whether and how restores are made on an instance. They only ever make new databases, unless in_place is set.
type Restore struct {
	Allow        *bool         `yaml:"allow"`    // default true
	InPlace      bool          `yaml:"in_place"` // also in the place of databases that are there, whose content is kept for a time
	User         string        `yaml:"user"`     // default: the instance's user
	Password     secret.String `yaml:"password"`
	PasswordFile string        `yaml:"password_file"`

	// mysql: who puts a restored database in the place of another. No dump runs as it. Default: user
	SwapUser         string        `yaml:"swap_user"`
	SwapPassword     secret.String `yaml:"swap_password"`
	SwapPasswordFile string        `yaml:"swap_password_file"`

	Extensions []string `yaml:"extensions"` // postgresql: may be created for a restored database
	Definers   string   `yaml:"definers"`   // mysql: strip (default) or keep the definers of views, routines, triggers and events
}

// InPlaceAllowed tells whether restores are made in the place of databases that are there.
func (r Restore) InPlaceAllowed() bool { return r.Allowed() && r.InPlace }

// Allowed tells whether restores are made here.
func (r Restore) Allowed() bool { return r.Allow == nil || *r.Allow }

// Storage says how object stores are reached, and where backups of local storages lie.
type Storage struct {
	CAFile string `yaml:"ca_file"` // PEM, beside the system's certificates
	Local  Local  `yaml:"local"`
}

// Local is the directory for backups on this host. Without one, backups to a local storage are refused.
type Local struct {
	Dir     string `yaml:"dir"`      // absolute, 0700, made if it does not exist
	MinFree Size   `yaml:"min_free"` // a backup stops before less than this is left on the disk; default 1GiB
}

// Limits bound how long things take.
type Limits struct {
	StallTimeout   Duration `yaml:"stall_timeout"`   // a tool that gives no byte for so long is stopped
	UploadTimeout  Duration `yaml:"upload_timeout"`  // a store that takes no part for so long fails the attempt
	Drain          Duration `yaml:"drain"`           // a stopping agent waits so long for running jobs
	DiscoveryEvery Duration `yaml:"discovery_every"` // how often databases are listed
	HelloDelay     Duration `yaml:"hello_delay"`     // longest random wait before the agent says hello
	ProveBlocks    string   `yaml:"prove_blocks"`    // what of an encoded dump is decoded again before it is stored: auto, all or sample
}

// Values of Limits.ProveBlocks.
const (
	ProveAuto   = "auto" // all on a host with four processors or more, where it costs no time; else a sample
	ProveAll    = "all"
	ProveSample = "sample"
)

// ProveAll tells whether every block is proven on a host with that many processors.
func (l Limits) ProveAll(processors int) bool {
	return l.ProveBlocks == ProveAll || l.ProveBlocks == ProveAuto && processors >= 4
}

// Duration is a time with its unit, such as "90s" or "2m".
type Duration time.Duration

// UnmarshalYAML reads a duration and refuses a bare number.
func (d *Duration) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err != nil {
		return fmt.Errorf("a duration is a number with a unit, such as 90s or 2m: %w", err)
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf("%q is not a duration: give a number with a unit, such as 90s or 2m", text)
	}
	*d = Duration(v)
	return nil
}

// MarshalYAML writes the form that UnmarshalYAML reads.
func (d Duration) MarshalYAML() (any, error) { return d.D().String(), nil }

// D is the duration as the time package has it.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return d.D().String() }

// Default is the configuration of a file that says nothing.
func Default() Config {
	return Config{
		StateDir:    "/var/lib/devflow-agent",
		Concurrency: 2,
		Log:         Log{Level: "info", Format: "text"},
		Storage:     Storage{Local: Local{MinFree: 1 << 30}},
		Limits: Limits{
			StallTimeout:   Duration(2 * time.Minute),
			UploadTimeout:  Duration(10 * time.Minute),
			Drain:          Duration(30 * time.Second),
			DiscoveryEvery: Duration(15 * time.Minute), ProveBlocks: ProveAuto,
			HelloDelay: Duration(10 * time.Second),
		},
	}
}

// Load reads YAML over the defaults. An empty text is the default configuration.
func Load(text []byte) (Config, error) {
	c := Default()
	// Without the source in errors: the lines around a mistake may hold a password.
	tree, err := parser.ParseBytes(text, 0)
	if err != nil {
		return Config{}, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	if len(tree.Docs) > 1 {
		return Config{}, errors.New("more than one YAML document: keep one")
	}
	if len(tree.Docs) == 1 && tree.Docs[0].Body != nil && tree.Docs[0].Body.Type() != ast.NullType && tree.Docs[0].Body.Type() != ast.CommentType {
		if err := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict()).Decode(&c); err != nil {
			return Config{}, errors.New(strings.TrimSpace(yaml.FormatError(err, false, false)))
		}
	}
	for i := range c.Instances {
		c.Instances[i].fill(c.StateDir)
	}
	return c, nil
}

func (i *Instance) fill(stateDir string) {
	if i.Engine == wire.EngineSQLite && i.SnapshotDir == "" {
		i.SnapshotDir = filepath.Join(stateDir, "snapshots")
	}
	if len(i.Databases.Include) == 0 {
		i.Databases.Include = []string{"*"}
	}
	switch {
	case i.Port != 0:
	case i.Engine == wire.EnginePostgreSQL:
		i.Port = 5432
	case i.Engine == wire.EngineMySQL:
		i.Port = 3306
	}
}

// LoadFile reads a configuration file and the password files that it names, and validates the result against the
// engines that this agent has.
func LoadFile(path string, engines []string) (Config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("read configuration: %w", err)
	}
	c, err := Load(text)
	if err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.Validate(engines); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	if err := c.readSecrets(path); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// readSecrets fills passwords from their files. A file with passwords in it must be its owner's alone.
func (c *Config) readSecrets(path string) error {
	if file := c.Metrics.TokenFile; file != "" {
		token, err := secret.LoadFile(file)
		if err != nil {
			return fmt.Errorf("metrics.token_file: %w", err)
		}
		if len(token) < minToken {
			return fmt.Errorf("metrics.token_file: %s holds fewer than %d bytes: `openssl rand -hex 32` makes a good token", file, minToken)
		}
		c.Metrics.Token = token
	}
	inline := ""
	for i := range c.Instances {
		in := &c.Instances[i]
		for _, p := range []struct {
			key  string
			file string
			to   *secret.String
		}{
			{fmt.Sprintf("instances[%d].password", i), in.PasswordFile, &in.Password},
			{fmt.Sprintf("instances[%d].restore.password", i), in.Restore.PasswordFile, &in.Restore.Password},
			{fmt.Sprintf("instances[%d].restore.swap_password", i), in.Restore.SwapPasswordFile, &in.Restore.SwapPassword},
		} {
			if !p.to.Empty() {
				inline = p.key
			}
			if p.file == "" {
				continue
			}
			v, err := secret.LoadFile(p.file)
			if err != nil {
				return fmt.Errorf("%s_file: %w", p.key, err)
			}
			*p.to = v
		}
	}
	if inline == "" {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at mode: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s stands in a file that other users can open (mode %04o): run `chmod 600 %s` or use %s_file", inline, perm, path, inline)
	}
	return nil
}

var (
	sslModes  = []string{"disable", "prefer", "require", "verify-ca", "verify-full"}
	definers  = []string{"strip", "keep"}
	nameRegex = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
)

// Validate reports the first value that is not allowed. engines are the names of the compiled-in engines.
func (c Config) Validate(engines []string) error {
	switch {
	case !strings.HasPrefix(c.StateDir, "/"):
		return fmt.Errorf("state_dir is %q: give an absolute path", c.StateDir)
	case c.Concurrency < minConcurrency || c.Concurrency > maxConcurrency:
		return fmt.Errorf("concurrency is %d: allowed are %d to %d", c.Concurrency, minConcurrency, maxConcurrency)
	}
	for _, w := range words {
		if got := w.of(c); !slices.Contains(w.allowed, got) {
			return oneOf(w.key, got, w.allowed)
		}
	}
	for _, s := range spans {
		if got := s.of(c); got.D() < s.min || got.D() > s.max {
			return fmt.Errorf("%s is %s: allowed are %s to %s", s.key, got, s.min, s.max)
		}
	}
	if err := c.Storage.Local.validate(c.StateDir); err != nil {
		return fmt.Errorf("storage.local.%w", err)
	}
	if err := c.Metrics.validate(); err != nil {
		return fmt.Errorf("metrics.%w", err)
	}
	seen := make(map[string]bool)
	for i, in := range c.Instances {
		if err := in.validate(engines); err != nil {
			return fmt.Errorf("instances[%d].%w", i, err)
		}
		if seen[in.Name] {
			return fmt.Errorf("instances[%d].name is %q: another instance has that name", i, in.Name)
		}
		seen[in.Name] = true
	}
	return nil
}

func (l Local) validate(stateDir string) error {
	state := filepath.Clean(stateDir)
	switch {
	case l.Dir == "":
		return nil
	case !filepath.IsAbs(l.Dir) || filepath.Clean(l.Dir) != l.Dir || l.Dir == "/":
		return fmt.Errorf("dir is %q: give the absolute path of a directory of its own, without . or .. or a slash at its end", l.Dir)
	case state == l.Dir || strings.HasPrefix(state, l.Dir+"/"):
		return fmt.Errorf("dir is %q: state_dir %s lies in it, and backups are to be kept apart from the agent's keys", l.Dir, stateDir)
	}
	return nil
}

func (i Instance) validate(engines []string) error {
	switch {
	case !nameRegex.MatchString(i.Name):
		return fmt.Errorf("name is %q: give 1 to 63 letters, digits, dots, dashes or underscores", i.Name)
	case !slices.Contains(engines, i.Engine):
		return oneOf("engine", i.Engine, engines)
	case i.Port < 0 || i.Port > 65535:
		return fmt.Errorf("port is %d: allowed are 1 to 65535", i.Port)
	case i.SSLMode != "" && !slices.Contains(sslModes, i.SSLMode):
		return oneOf("sslmode", i.SSLMode, sslModes)
	case !i.Password.Empty() && i.PasswordFile != "":
		return errors.New("password and password_file are both set: keep one")
	case !i.Restore.Password.Empty() && i.Restore.PasswordFile != "":
		return errors.New("restore.password and restore.password_file are both set: keep one")
	case !i.Restore.SwapPassword.Empty() && i.Restore.SwapPasswordFile != "":
		return errors.New("restore.swap_password and restore.swap_password_file are both set: keep one")
	}
	for _, dir := range i.BinDirs {
		if !strings.HasPrefix(dir, "/") {
			return fmt.Errorf("bin_dirs has %q: give absolute paths", dir)
		}
	}
	if i.Engine == wire.EngineSQLite {
		return i.validateFiles()
	}
	switch {
	case len(i.Paths) > 0:
		return fmt.Errorf("paths is set, but the engine is %s: only %s has paths", i.Engine, wire.EngineSQLite)
	case i.SnapshotDir != "":
		return fmt.Errorf("snapshot_dir is set, but the engine is %s: only %s makes snapshots", i.Engine, wire.EngineSQLite)
	case i.Restore.Definers != "" && i.Engine != wire.EngineMySQL:
		return fmt.Errorf("restore.definers is set, but the engine is %s: only %s has definers", i.Engine, wire.EngineMySQL)
	case i.Restore.Definers != "" && !slices.Contains(definers, i.Restore.Definers):
		return oneOf("restore.definers", i.Restore.Definers, definers)
	case len(i.Restore.Extensions) > 0 && i.Engine != wire.EnginePostgreSQL:
		return fmt.Errorf("restore.extensions is set, but the engine is %s: only %s has extensions", i.Engine, wire.EnginePostgreSQL)
	case i.Database != "" && i.Engine != wire.EnginePostgreSQL:
		return fmt.Errorf("database is set, but the engine is %s: only %s needs one to connect to", i.Engine, wire.EnginePostgreSQL)
	}
	return i.Restore.validateSwap(i.Engine)
}

func (r Restore) validateSwap(engine string) error {
	for _, of := range []struct {
		key string
		set bool
	}{
		{"restore.swap_user", r.SwapUser != ""},
		{"restore.swap_password", !r.SwapPassword.Empty()},
		{"restore.swap_password_file", r.SwapPasswordFile != ""},
	} {
		switch {
		case of.set && engine != wire.EngineMySQL:
			return fmt.Errorf("%s is set, but the engine is %s: only %s has an account that swaps", of.key, engine, wire.EngineMySQL)
		case of.set && r.SwapUser == "":
			return fmt.Errorf("%s is set, but restore.swap_user is not: name the account", of.key)
		}
	}
	return nil
}

// validateFiles checks the paths of databases that have no server, and refuses settings of one.
func (i Instance) validateFiles() error {
	for _, of := range []struct {
		key string
		set bool
	}{
		{"host", i.Host != ""},
		{"port", i.Port != 0},
		{"user", i.User != ""},
		{"password", !i.Password.Empty()},
		{"password_file", i.PasswordFile != ""},
		{"sslmode", i.SSLMode != ""},
		{"ssl_root_cert", i.SSLRootCert != ""},
		{"bin_dirs", len(i.BinDirs) > 0},
		{"restore.user", i.Restore.User != ""},
		{"restore.password", !i.Restore.Password.Empty()},
		{"restore.password_file", i.Restore.PasswordFile != ""},
		{"restore.extensions", len(i.Restore.Extensions) > 0},
		{"restore.definers", i.Restore.Definers != ""},
		{"database", i.Database != ""},
		{"restore.swap_user", i.Restore.SwapUser != ""},
		{"restore.swap_password", !i.Restore.SwapPassword.Empty()},
		{"restore.swap_password_file", i.Restore.SwapPasswordFile != ""},
	} {
		if of.set {
			return fmt.Errorf("%s is set, but the engine is %s, which has no server: remove it", of.key, i.Engine)
		}
	}
	if len(i.Paths) == 0 {
		return errors.New("paths is empty: list the database files, or the directories that they lie in, such as /srv/*/database/*.sqlite")
	}
	for _, path := range i.Paths {
		if !below(path) {
			return notBelow("paths", path)
		}
		for part := range strings.SplitSeq(path, "/") {
			if _, err := filepath.Match(part, ""); err != nil {
				return fmt.Errorf("paths has %q: the pattern %q is not complete", path, part)
			}
		}
	}
	if !below(i.SnapshotDir) {
		return notBelow("snapshot_dir", i.SnapshotDir)
	}
	return nil
}

// below tells whether a path is absolute, clean, and not the root.
func below(path string) bool {
	return filepath.IsAbs(path) && filepath.Clean(path) == path && path != "/"
}

func notBelow(key, path string) error {
	return fmt.Errorf("%s has %q: give absolute paths below the root, without . and .. and doubled slashes", key, path)
}

func oneOf(key, got string, allowed []string) error {
	return fmt.Errorf("%s is %q: allowed are %s", key, got, strings.Join(allowed, ", "))
}

// Instance returns the instance of that name.
func (c Config) Instance(name string) (Instance, bool) {
	for _, i := range c.Instances {
		if i.Name == name {
			return i, true
		}
	}
	return Instance{}, false
}

// Allows tells whether a database may be backed up.
func (d Databases) Allows(name string) bool {
	match := func(pattern string) bool { return Match(pattern, name) }
	return slices.ContainsFunc(d.Include, match) && !slices.ContainsFunc(d.Exclude, match)
}

// Match tells whether the whole name fits the pattern: "*" is any characters, "?" is one, all else is itself.
func Match(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	star, mark := -1, 0
	pi, ni := 0, 0
	for ni < len(n) {
		switch {
		case pi < len(p) && p[pi] == '*':
			star, mark = pi, ni
			pi++
		case pi < len(p) && (p[pi] == '?' || p[pi] == n[ni]):
			pi++
			ni++
		case star >= 0:
			mark++
			pi, ni = star+1, mark
		default:
			return false
		}
	}
	for pi < len(p) && p[pi] == '*' {
		pi++
	}
	return pi == len(p)
}
