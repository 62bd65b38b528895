package stack

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// AgentOptions of NewAgent.
type AgentOptions struct {
	// Servers are its instances, by name.
	Servers map[string]Server
	// InPlace allows restores in the place of databases on its servers. See Server.AllowInPlace.
	InPlace bool
	// Local gives it a directory for backups on its own host: Agent.LocalDir.
	Local bool
	// Instance keys are set in every instance, such as bin_dirs. They win.
	Instance map[string]any
	// Limits are keys of the configuration's limits section. They win over quick ones.
	Limits map[string]any
	// Extra are further keys of the configuration file. They win.
	Extra map[string]any
	// Env is added to the environment, for failpoints.
	Env []string
}

// Agent is one agent, running or not.
type Agent struct {
	Name     string
	Dir      string // its state directory
	LocalDir string // its backup directory, if it has one
	Env      []string
	As       *syscall.Credential // of whom it runs as; the stack's own account if nil

	stack   *Stack
	bin     string // of another build; the stack's if empty
	config  string
	process *Process
	started time.Time // of process
}

// NewAgent writes the configuration of an agent. Enroll and Start come next.
func (s *Stack) NewAgent(name string, opt AgentOptions) (*Agent, error) {
	a := &Agent{Name: name, Dir: s.path(name), Env: opt.Env, stack: s, config: s.path("config", name+".yaml")}
	if err := a.Configure(opt); err != nil {
		return nil, err
	}
	s.onStop(a.Stop)
	s.mu.Lock()
	s.agents = append(s.agents, a)
	s.mu.Unlock()
	return a, nil
}

// look has the agent on a server list its databases now. One that was just started does so by itself.
func (s *Stack) look(server string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, a := range s.agents {
		if a.Name == server && a.process != nil && a.process.Running() && time.Since(a.started) > settling {
			errs = append(errs, a.process.Signal(syscall.SIGHUP))
		}
	}
	return errors.Join(errs...)
}

// settling is how long after its start an agent may not know yet what to do about a signal.
const settling = 3 * time.Second

// Configure writes the configuration anew. A running agent reads it at its next start.
func (a *Agent) Configure(opt AgentOptions) error {
	var instances []map[string]any
	for name, server := range opt.Servers {
		instance := server.Instance()
		instance["name"] = name
		if opt.InPlace {
			restore, _ := instance["restore"].(map[string]any)
			if restore == nil {
				restore = map[string]any{}
			}
			restore["in_place"] = true
			maps.Copy(restore, server.InPlace())
			instance["restore"] = restore
		}
		maps.Copy(instance, opt.Instance)
		instances = append(instances, instance)
	}
	limits := map[string]any{"hello_delay": "100ms", "drain": "5s"}
	maps.Copy(limits, opt.Limits)
	cfg := map[string]any{"state_dir": a.Dir, "instances": instances, "limits": limits}
	if opt.Local {
		a.LocalDir = a.stack.path(a.Name + "-backups")
		cfg["storage"] = map[string]any{"local": map[string]any{"dir": a.LocalDir, "min_free": "64MiB"}}
	}
	maps.Copy(cfg, opt.Extra)
	if err := writeConfig(a.config, cfg); err != nil {
		return fmt.Errorf("configure %s: %w", a.Name, err)
	}
	return nil
}

// Use takes the program from another directory from the next start on.
func (a *Agent) Use(bin string) { a.bin = bin }

func (a *Agent) program() string {
	if a.bin != "" {
		return filepath.Join(a.bin, "devflow-agent")
	}
	return a.stack.Program("devflow-agent")
}

// Config is the path of the configuration file.
func (a *Agent) Config() string { return a.config }

// LogFile is the path of its log.
func (a *Agent) LogFile() string { return a.stack.LogFile(a.Name) }

// TryEnroll runs the enrolment with a token and returns what it said.
func (a *Agent) TryEnroll(ctx context.Context, url, token string, args ...string) (Result, error) {
	file := a.TokenFile()
	if err := WriteFile(file, strings.TrimSpace(token)+"\n", 0o600); err != nil {
		return Result{}, err
	}
	return a.Run(ctx, append([]string{"enroll", "--controller", url, "--token-file", file}, args...)...)
}

// TokenFile is where TryEnroll puts the token: an argument would be seen in the process list.
func (a *Agent) TokenFile() string { return a.stack.path("secrets", a.Name+"-enrolment") }

// Enroll enrols the agent at a controller: a token is made for it and used.
func (a *Agent) Enroll(ctx context.Context, c *Controller, project string) error {
	token, err := c.Admin().EnrolmentToken(ctx, a.Name, project)
	if err != nil {
		return fmt.Errorf("enrol %s: %w", a.Name, err)
	}
	res, err := a.TryEnroll(ctx, c.URL(), token)
	if err != nil {
		return fmt.Errorf("enrol %s: %w", a.Name, err)
	}
	if res.Code != 0 {
		return fmt.Errorf("enrol %s: %s", a.Name, res.Text())
	}
	return nil
}

// Run runs a subcommand to its end.
func (a *Agent) Run(ctx context.Context, args ...string) (Result, error) {
	return a.stack.run(ctx, a.program(), append(args, "--config", a.config), a.Env...)
}

// Start starts the agent and waits for nothing: a controller tells when its server is online.
func (a *Agent) Start() error {
	if a.process != nil && a.process.Running() {
		return fmt.Errorf("start %s: it runs already", a.Name)
	}
	if err := os.MkdirAll(filepath.Dir(a.Dir), 0o755); err != nil {
		return fmt.Errorf("start %s: %w", a.Name, err)
	}
	process, err := a.stack.start(processOptions{
		name: a.Name, program: a.program(), args: []string{"run", "--config", a.config}, env: a.Env,
		// Dump tools inherit it, and are found by it.
		dir: a.stack.Dir, log: a.LogFile(), as: a.As,
	})
	a.stack.mu.Lock()
	a.process, a.started = process, time.Now()
	a.stack.mu.Unlock()
	return err
}

// StartOnline starts the agent and waits until the controller shows its server online with the given number of databases,
// or more.
func (a *Agent) StartOnline(ctx context.Context, c *Controller, databases int) error {
	if err := a.Start(); err != nil {
		return err
	}
	return a.AwaitOnline(ctx, c, databases)
}

// AwaitOnline waits until the controller shows the agent's server online with that many databases, or more.
func (a *Agent) AwaitOnline(ctx context.Context, c *Controller, databases int) error {
	p := a.process
	return Within(ctx, readyTimeout, fmt.Sprintf("server %s is online with %d databases", a.Name, databases), func(ctx context.Context) (bool, error) {
		if !p.Running() {
			return false, Hopeless(fmt.Errorf("%s ended with status %d: %s", a.Name, p.ExitCode(), Tail(a.LogFile(), 5)))
		}
		return c.Admin().Online(ctx, a.Name, databases)
	})
}

// Process is the run that was started last.
func (a *Agent) Process() *Process { return a.process }

// Stop ends the agent as an operator would.
func (a *Agent) Stop(ctx context.Context) error {
	if a.process == nil {
		return nil
	}
	return a.process.Stop(ctx)
}

// Kill ends it as a power failure would.
func (a *Agent) Kill() error { return a.process.Kill() }

// Restart stops and starts it.
func (a *Agent) Restart(ctx context.Context) error { return errors.Join(a.Stop(ctx), a.Start()) }

// Children are the processes below this one, a dump tool for example, with their own.
func (p *Process) Children() []Running {
	return childrenOf(p.PID())
}

// AwaitChild waits until the agent runs a program whose command line contains text, and returns it.
func (a *Agent) AwaitChild(ctx context.Context, text string) (Running, error) {
	var found Running
	err := Within(ctx, 30*time.Second, a.Name+" runs "+text, func(context.Context) (bool, error) {
		for _, c := range a.process.Children() {
			if strings.Contains(c.Command, text) {
				found = c
				return true, nil
			}
		}
		return false, nil
	})
	return found, err
}
