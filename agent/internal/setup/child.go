package setup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/agent/internal/check"
	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// ChildCommand is the word by which the agent's program runs Child.
const ChildCommand = "setup-as"

const childTimeout = 5 * time.Minute

// order is what a child is to do: the one, or the other.
type order struct {
	Grant *grantOrder `json:"grant,omitempty"`
	Check *checkOrder `json:"check,omitempty"`
}

type grantOrder struct {
	Engine  string              `json:"engine"`
	Request engine.GrantRequest `json:"request"`
	// Passwords travel beside the request, in which they hide themselves.
	Passwords map[string]string `json:"passwords"`
}

type checkOrder struct {
	Config string `json:"config"`
}

// answer is what a child has found.
type answer struct {
	Error   string    `json:"error,omitempty"`
	Checked []checked `json:"checked,omitempty"`
}

type checked struct {
	Instance  string           `json:"instance"`
	Version   string           `json:"version"`
	Databases []string         `json:"databases"`
	Findings  []engine.Finding `json:"findings"`
}

// Child does what stands in the input, as the account that it runs as, and writes what came of it.
func Child(ctx context.Context, in io.Reader, out io.Writer) error {
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return fmt.Errorf("read order: %w", err)
	}
	var a answer
	var err error
	switch {
	case o.Grant != nil:
		err = o.Grant.run(ctx)
	case o.Check != nil:
		a.Checked, err = o.Check.run(ctx)
	}
	if err != nil {
		a.Error = err.Error()
	}
	if err := json.NewEncoder(out).Encode(a); err != nil {
		return fmt.Errorf("write answer: %w", err)
	}
	return nil
}

func (o *grantOrder) run(ctx context.Context) error {
	local, ok := engines.Local(o.Engine)
	if !ok {
		return fmt.Errorf("engine %s: %w", o.Engine, errors.ErrUnsupported)
	}
	o.Request.Passwords = map[string]secret.String{}
	for name, text := range o.Passwords {
		o.Request.Passwords[name] = secret.String(text)
	}
	return local.Grant(ctx, o.Request)
}

func (o *checkOrder) run(ctx context.Context) (all []checked, err error) {
	cfg, err := config.LoadFile(o.Config, engines.Names())
	if err != nil {
		return nil, err
	}
	for _, in := range cfg.Instances {
		one := checked{Instance: in.Name, Databases: []string{}}
		for _, row := range check.Instance(ctx, in, engines.New, hclog.NewNullLogger()) {
			one.Findings = append(one.Findings, row.Finding)
		}
		if e, err := engines.New(in, hclog.NewNullLogger()); err == nil {
			if info, err := e.Server(ctx); err == nil {
				one.Version = info.Version
			}
			if databases, err := e.Discover(ctx); err == nil {
				for _, d := range databases {
					one.Databases = append(one.Databases, d.Name)
				}
			}
		}
		all = append(all, one)
	}
	return all, nil
}

// as runs an order in a process of another account.
func (r *run) as(ctx context.Context, name string, o order) (a answer, err error) {
	u, err := user.Lookup(name)
	if err != nil {
		return a, fmt.Errorf("account %s: %w", name, err)
	}
	credential, err := credentialOf(u)
	if err != nil {
		return a, err
	}
	in, err := json.Marshal(o)
	if err != nil {
		return a, fmt.Errorf("write order: %w", err)
	}
	command := r.o.Child
	if len(command) == 0 {
		self, err := os.Executable()
		if err != nil {
			return a, fmt.Errorf("look for own program: %w", err)
		}
		command = []string{self, ChildCommand}
	}
	ctx, cancel := context.WithTimeout(ctx, childTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, command[0], command[1:]...) //nolint:gosec // ourselves
	var out, problems bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(in), &out, &problems
	cmd.Dir, cmd.Env = "/", []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C.UTF-8"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: credential, Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		return a, fmt.Errorf("run %s as %s: %w: %s", command[0], name, err, strings.TrimSpace(problems.String()))
	}
	if err := json.Unmarshal(out.Bytes(), &a); err != nil {
		return a, fmt.Errorf("read what came of it as %s: %w", name, err)
	}
	if a.Error != "" {
		return a, errors.New(a.Error)
	}
	return a, nil
}

func credentialOf(u *user.User) (*syscall.Credential, error) {
	number := func(text string) (uint32, error) {
		n, err := strconv.ParseUint(text, 10, 32)
		return uint32(n), err
	}
	uid, err := number(u.Uid)
	gid, errGroup := number(u.Gid)
	if err := errors.Join(err, errGroup); err != nil {
		return nil, fmt.Errorf("account %s: %w", u.Username, err)
	}
	c := &syscall.Credential{Uid: uid, Gid: gid}
	groups, err := u.GroupIds()
	if err != nil {
		return nil, fmt.Errorf("groups of %s: %w", u.Username, err)
	}
	for _, group := range groups {
		n, err := number(group)
		if err != nil {
			return nil, fmt.Errorf("groups of %s: %w", u.Username, err)
		}
		c.Groups = append(c.Groups, n)
	}
	return c, nil
}

// script is the one for an instance.
func (r *run) script(in config.Instance, one found) (engine.Script, error) {
	return engines.Setup(in.Engine, engine.SetupRequest{
		Account: r.account.Username, MariaDB: one.MariaDB, InPlace: in.Restore.InPlaceAllowed(), Databases: r.o.Databases, Paths: in.Paths,
	})
}

// standard tells whether an instance has the accounts that a script makes.
func (r *run) standard(in config.Instance) bool {
	return in.User == r.account.Username && in.Password.Empty() && in.Restore.User == engine.RestoreUser &&
		(in.Restore.SwapUser == "" || in.Restore.SwapUser == engine.SwapUser)
}

// grant runs the script of each server that is on this host. What one refuses does not keep another from it.
func (r *run) grant(ctx context.Context, cfg config.Config) (failed error) {
	for _, in := range cfg.Instances {
		one, ok := r.server(in)
		if !ok {
			continue // it has no server, or one elsewhere
		}
		if !r.standard(in) {
			r.need(in.Name, "its accounts are not those that a setup script makes, so none was run", "run what `devflow-agent setup --print "+in.Engine+"` prints, with the names of its accounts")
			continue
		}
		if err := r.grantOne(ctx, in, one); err != nil {
			failed = errors.Join(failed, fmt.Errorf("instance %s: %w", in.Name, err))
		}
	}
	return failed
}

func (r *run) grantOne(ctx context.Context, in config.Instance, one found) error {
	script, err := r.script(in, one)
	if err != nil {
		return err
	}
	o := &grantOrder{Engine: in.Engine, Request: engine.GrantRequest{Local: one.Local, Script: script}, Passwords: map[string]string{}}
	for name, password := range map[string]secret.String{in.Restore.User: in.Restore.Password, in.Restore.SwapUser: in.Restore.SwapPassword} {
		if !password.Empty() {
			o.Passwords[name] = password.Reveal()
		}
	}
	if local, _ := engines.Local(in.Engine); !local.AsServer {
		return o.run(ctx)
	}
	_, err = r.as(ctx, one.Account, order{Grant: o})
	return err
}

// check looks at all instances as the service would, and adds what is missing to the report.
func (r *run) check(ctx context.Context, cfg config.Config) error {
	a, err := r.as(ctx, r.account.Username, order{Check: &checkOrder{r.o.Config}})
	if err != nil {
		return fmt.Errorf("check: %w", err)
	}
	for i, c := range a.Checked {
		in := cfg.Instances[i]
		one, local := r.server(in)
		r.report.Instances = append(r.report.Instances, r.describe(in, one, c))
		for _, f := range c.Findings {
			if f.Level == check.OK {
				continue
			}
			if f.Name == "login" && f.Level == check.Error && local && r.standard(in) && !r.o.Grant {
				r.need(in.Name, f.Detail, r.howToGrant(in, one))
				continue
			}
			r.need(in.Name, f.Detail, f.Hint)
		}
		if in.Engine == wire.EngineSQLite {
			if err := r.checkUnit(in); err != nil {
				return err
			}
		}
	}
	for _, name := range r.o.Databases {
		if !slices.ContainsFunc(r.report.Instances, func(i Instance) bool { return slices.Contains(i.Databases, name) }) {
			r.need("", fmt.Sprintf("no instance shows a database %q", name), "look at its name, and at what the instances need")
		}
	}
	return nil
}

func (r *run) describe(in config.Instance, one found, c checked) Instance {
	i := Instance{Name: in.Name, Engine: in.Engine, FoundAt: one.Socket, Version: one.Version, Databases: c.Databases, State: Ready}
	switch {
	case one.Socket != "":
	case in.Engine == wire.EngineSQLite:
		i.FoundAt = strings.Join(in.Paths, ", ")
	default:
		i.FoundAt = in.Host
		if !strings.HasPrefix(in.Host, "/") {
			i.FoundAt += ":" + strconv.Itoa(in.Port)
		}
	}
	if c.Version != "" {
		i.Version = c.Version
	}
	for _, f := range c.Findings {
		switch {
		case f.Level == check.Error:
			i.State = Blocked
		case f.Level == check.Warning && i.State == Ready:
			i.State = Limited
		}
	}
	return i
}

// howToGrant is the command that runs the script by hand, and the one that does it for all.
func (r *run) howToGrant(in config.Instance, one found) string {
	inPlace := ""
	if in.Restore.InPlaceAllowed() {
		inPlace = " --in-place"
	}
	script := "devflow-agent setup --print " + in.Engine + inPlace
	by := fmt.Sprintf("runuser -u %s -- psql -X -v ON_ERROR_STOP=1 -h %s -p %d postgres", one.Account, one.Host, one.Port)
	if in.Engine == wire.EngineMySQL {
		if one.MariaDB {
			script = "devflow-agent setup --print mariadb" + inPlace
		}
		by = "mysql --socket=" + one.Socket + ", after the passwords are put in"
	}
	return "run `devflow-agent setup --grant" + inPlace + "`, which makes the accounts; or, to read it before, `" + script + "`, and run that by " + by
}

// dropIns are where the service's sandbox is widened.
const dropIns = "/etc/systemd/system/devflow-agent.service.d"

// checkUnit tells if the service, where systemd runs it, may not write where SQLite databases lie.
func (r *run) checkUnit(in config.Instance) error {
	if _, err := os.Stat("/run/systemd/system"); err != nil {
		return nil //nolint:nilerr // there is no sandbox
	}
	text := ""
	entries, _ := os.ReadDir(dropIns) // none is no drop-in
	for _, entry := range entries {
		if b, err := os.ReadFile(dropIns + "/" + entry.Name()); err == nil {
			text += string(b)
		}
	}
	script, err := r.script(in, found{})
	if err != nil {
		return err
	}
	for _, dir := range (config.Config{StateDir: r.state, Instances: []config.Instance{in}}).Writes() {
		if !strings.Contains(text, dir) {
			r.need(in.Name, "the service's sandbox keeps the agent from writing to "+dir, "run "+script.Steps[len(script.Steps)-1].Do)
		}
	}
	return nil
}
