package stack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"devflowbackup/shared/freeport"
	"devflowbackup/shared/secret"
)

// readyTimeout is how long a part may take until it says that it is ready.
const readyTimeout = 60 * time.Second

// Quick are timings that let tests see in seconds what takes minutes in a real installation.
func Quick() map[string]any {
	return map[string]any{"heartbeat": "1s", "lease": "4s", "lease_max": "1h", "retry_base": "200ms", "retry_max": "2s"}
}

// ControllerOptions of NewController.
type ControllerOptions struct {
	// CatalogDSN is the catalog's; a private PostgreSQL in the controller's own directory if empty.
	CatalogDSN secret.String
	// NATS is an external broker; the controller embeds one if nil. Cluster are the servers of one, in its place.
	NATS    *NATS
	Cluster []*NATS
	// Bin is a directory with another build of the program; the stack's if empty. See Use.
	Bin string
	// MasterKeyFile is shared by the controllers of an installation; in the controller's directory if empty.
	MasterKeyFile string
	// Timing is the configuration's timing section; its defaults if nil. See Quick.
	Timing map[string]any
	// Extra are further keys of the configuration file. They win.
	Extra map[string]any
	// Port and NATSPort on loopback, free ones if 0. They stay the same over restarts.
	Port, NATSPort int
	// Env is added to the environment, for failpoints.
	Env []string
}

// Controller is one controller, running or not.
type Controller struct {
	Name string
	Dir  string // its data directory
	Env  []string
	// FirstStartFile has what the first start printed: the recovery key is in it.
	FirstStartFile string

	stack   *Stack
	opt     ControllerOptions
	config  string
	process *Process
	url     string
	asking  sync.Map // of *http.Client, by the authority that they trust
}

// NewController writes the configuration of a controller. Start starts it.
func (s *Stack) NewController(name string, opt ControllerOptions) (*Controller, error) {
	c := &Controller{Name: name, Dir: s.path(name), Env: opt.Env, stack: s, opt: opt, config: s.path("config", name+".yaml"), FirstStartFile: s.path("secrets", name+"-first-start.txt")}
	var err error
	if c.opt.Port == 0 {
		if c.opt.Port, err = freeport.Pick(); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
	}
	if c.opt.NATSPort == 0 && opt.NATS == nil && len(opt.Cluster) == 0 {
		if c.opt.NATSPort, err = freeport.Pick(); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
	}
	cfg := map[string]any{"data_dir": c.Dir, "listen": freeport.Address(c.opt.Port)}
	if opt.MasterKeyFile != "" {
		cfg["master_key_file"] = opt.MasterKeyFile
	}
	if opt.Timing != nil {
		cfg["timing"] = opt.Timing
	}
	switch {
	case len(opt.Cluster) > 0:
		var urls []string
		for _, n := range opt.Cluster {
			urls = append(urls, n.URL())
		}
		cfg["nats"] = map[string]any{"urls": urls}
	case opt.NATS != nil:
		cfg["nats"] = map[string]any{"urls": []string{opt.NATS.URL()}}
	default:
		cfg["nats"] = map[string]any{"listen": freeport.Address(c.opt.NATSPort)}
	}
	if !opt.CatalogDSN.Empty() {
		file := s.path("secrets", name+"-dsn")
		if err := WriteFile(file, opt.CatalogDSN.Reveal()+"\n", 0o600); err != nil {
			return nil, fmt.Errorf("make %s: %w", name, err)
		}
		cfg["catalog"] = map[string]any{"dsn_file": file}
	}
	for k, v := range opt.Extra {
		cfg[k] = v
	}
	if err := writeConfig(c.config, cfg); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(c.FirstStartFile), 0o755); err != nil {
		return nil, fmt.Errorf("make %s: %w", name, err)
	}
	s.onStop(c.Stop)
	return c, nil
}

// writeConfig writes JSON, which is YAML too.
func writeConfig(path string, cfg map[string]any) error {
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, string(b)+"\n", 0o600)
}

// Use takes the program from another directory from the next start on.
func (c *Controller) Use(bin string) { c.opt.Bin = bin }

func (c *Controller) program() string {
	if c.opt.Bin != "" {
		return filepath.Join(c.opt.Bin, "devflow-controller")
	}
	return c.stack.Program("devflow-controller")
}

// Config is the path of the configuration file.
func (c *Controller) Config() string { return c.config }

// LogFile is the path of its log.
func (c *Controller) LogFile() string { return c.stack.LogFile(c.Name) }

// Args are the command line for a subcommand.
func (c *Controller) Args(args ...string) []string {
	args = append(args, "--config", c.config)
	if c.opt.CatalogDSN.Empty() {
		args = append(args, "--embedded")
	}
	return args
}

var readyURL = regexp.MustCompile(`controller ready: .*\burl=(\S+)`)

// Start starts the controller and waits until it is ready. If it ends instead, the error has the end of its log.
func (c *Controller) Start(ctx context.Context) error {
	if err := c.Launch(); err != nil {
		return err
	}
	return c.AwaitReady(ctx)
}

// Launch starts the controller and waits for nothing.
func (c *Controller) Launch() error {
	if c.process != nil && c.process.Running() {
		return fmt.Errorf("start %s: it runs already", c.Name)
	}
	began, err := fileSize(c.LogFile())
	if err != nil {
		return fmt.Errorf("start %s: %w", c.Name, err)
	}
	c.url = ""
	c.process, err = c.stack.start(processOptions{
		name: c.Name, program: c.program(), args: c.Args("serve"), env: c.Env, dir: c.stack.Dir,
		stdout: c.FirstStartFile, log: c.LogFile(),
	})
	if err != nil {
		return err
	}
	c.process.logFrom = began
	return nil
}

// AwaitReady waits until a launched controller is ready.
func (c *Controller) AwaitReady(ctx context.Context) error {
	p := c.process
	return Within(ctx, readyTimeout, c.Name+" is ready", func(context.Context) (bool, error) {
		text, err := readFrom(c.LogFile(), p.logFrom)
		if err != nil {
			return false, err
		}
		if m := readyURL.FindStringSubmatch(text); m != nil {
			c.url = m[1]
			return true, nil
		}
		if !p.Running() {
			return false, Hopeless(fmt.Errorf("%s ended with status %d: %s", c.Name, p.ExitCode(), Tail(c.LogFile(), 5)))
		}
		return false, nil
	})
}

// Process is the run that was started last.
func (c *Controller) Process() *Process { return c.process }

// URL is the API's.
func (c *Controller) URL() string { return c.url }

// Stop ends the controller as an operator would.
func (c *Controller) Stop(ctx context.Context) error {
	if c.process == nil {
		return nil
	}
	return c.process.Stop(ctx)
}

// Kill ends it as a power failure would. Its private PostgreSQL ends with it.
func (c *Controller) Kill() error { return c.process.Kill() }

// Restart stops and starts it.
func (c *Controller) Restart(ctx context.Context) error {
	return errors.Join(c.Stop(ctx), c.Start(ctx))
}

// Run runs a subcommand other than serve to its end.
func (c *Controller) Run(ctx context.Context, args ...string) (Result, error) {
	return c.stack.run(ctx, c.program(), c.Args(args...), c.Env...)
}

// Admin is a client with the token of the first start.
func (c *Controller) Admin() *Client { return c.ClientWithFile(filepath.Join(c.Dir, "admin.token")) }

// ClientWithFile is a client with the token in a file.
func (c *Controller) ClientWithFile(tokenFile string) *Client {
	return &Client{stack: c.stack, controller: c, CAFile: filepath.Join(c.Dir, "ca.pem"), TokenFile: tokenFile}
}

// ClientWith is a client with another token, kept in a file of this name.
func (c *Controller) ClientWith(name, token string) (*Client, error) {
	file := c.stack.path("secrets", name+".token")
	if err := WriteFile(file, strings.TrimSpace(token)+"\n", 0o600); err != nil {
		return nil, fmt.Errorf("make client: %w", err)
	}
	return c.ClientWithFile(file), nil
}

func fileSize(path string) (int64, error) {
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func readFrom(path string, offset int64) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	return string(b[min(offset, int64(len(b))):]), nil
}
