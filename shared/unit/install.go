package unit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/kardianos/service"
)

var (
	// ErrPackaged says that a package has brought the service, and that its tools are to be used.
	ErrPackaged = errors.New("the service came with a package")
	// ErrNotRunning is status's word for a service that is installed, or not, and does not run.
	ErrNotRunning = errors.New("not running")
)

// Daemon is a program that can be a service of its host.
type Daemon struct {
	Name   string // of the program, its package, its service and its account: devflow-agent
	Title  string
	Short  string // of its files in /etc/devflow: agent
	Verb   string // the command that runs it
	Needs  string // file in the state directory without which there is nothing to run; may be empty
	Sample []byte // configuration file for a host that has none
	Mode   fs.FileMode
	Next   string // what to do after the installation
	// Read tells what the configuration says of the state directory and of other directories that are written to.
	Read func(file string) (state string, writes []string, err error)

	root string // before all paths that are looked at, for tests
}

// Request says how to install.
type Request struct {
	Config string // configuration file
	User   string // account; empty for the daemon's own, which is made if it is not there
}

// idle is what kardianos/service wants of a program that it runs; ours runs itself.
type idle struct{}

func (idle) Start(service.Service) error { return nil }
func (idle) Stop(service.Service) error  { return nil }

func (d Daemon) service(c service.Config) (service.Service, error) {
	c.Name, c.DisplayName, c.Description = d.Name, d.Title, d.Title
	s, err := service.New(idle{}, &c)
	if err != nil {
		return nil, fmt.Errorf("service of this host: %w", err)
	}
	return s, nil
}

// packaged is the unit that a package has installed, "" if none has.
func (d Daemon) packaged() string {
	for _, dir := range []string{"/usr/lib/systemd/system/", "/lib/systemd/system/"} {
		if path := dir + d.Name + ".service"; exists(d.root + path) {
			return path
		}
	}
	return ""
}

// Install makes the account, the directories, a configuration if there is none, and the service, which is not started. It
// says on w what it has done.
func (d Daemon) Install(ctx context.Context, r Request, w io.Writer) error {
	if path := d.packaged(); path != "" {
		return fmt.Errorf("%w (%s): use `systemctl enable --now %s`; nothing was changed", ErrPackaged, path, d.Name)
	}
	if os.Geteuid() != 0 {
		return errors.New("install needs root")
	}
	program, err := d.program()
	if err != nil {
		return err
	}
	if r.Config, err = filepath.Abs(r.Config); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	account, err := d.account(ctx, r.User, w)
	if err != nil {
		return err
	}
	uid, gid, err := numbers(account)
	if err != nil {
		return err
	}
	group, err := user.LookupGroupId(account.Gid)
	if err != nil {
		return fmt.Errorf("group of %s: %w", account.Username, err)
	}
	if err := d.configuration(r.Config, gid, w); err != nil {
		return err
	}
	state, writes, err := d.Read(r.Config)
	if err != nil {
		return err
	}
	text, err := Text(d.Name, Place{
		Program: program, Verb: d.Verb, Config: r.Config, User: account.Username, Group: group.Name, State: state, Writes: writes, Needs: d.Needs,
	})
	if err != nil {
		return err
	}
	if err := d.hold(state, uid, gid); err != nil {
		return err
	}
	s, err := d.service(service.Config{
		UserName: account.Username, Executable: program, Arguments: []string{d.Verb, "--config", r.Config},
		Option: service.KeyValue{"SystemdScript": text},
	})
	if err != nil {
		return err
	}
	if err := s.Install(); err != nil {
		return fmt.Errorf("install the service (%s): %w", s.Platform(), err)
	}
	fmt.Fprintf(w, "installed the service %s (%s), which runs as %s; state in %s, configuration in %s\n", d.Name, s.Platform(), account.Username, state, r.Config)
	fmt.Fprintln(w, "next:", d.Next)
	return nil
}

// program is this program, where the service can start it.
func (d Daemon) program() (string, error) {
	path, err := os.Executable()
	if err == nil {
		path, err = filepath.EvalSymlinks(path)
	}
	if err != nil {
		return "", fmt.Errorf("find this program: %w", err)
	}
	if inHome(path) || strings.HasPrefix(path, "/tmp/") || strings.HasPrefix(path, "/var/tmp/") {
		return "", fmt.Errorf("this program is %s, where the service cannot start it: copy it to /usr/local/bin and install from there", path)
	}
	return path, nil
}

// account is whom the service runs as.
func (d Daemon) account(ctx context.Context, name string, w io.Writer) (*user.User, error) {
	own := name == ""
	if own {
		name = d.Name
	}
	u, err := user.Lookup(name)
	var unknown user.UnknownUserError
	if err == nil || !errors.As(err, &unknown) || !own {
		if err != nil {
			return nil, fmt.Errorf("user %s: %w", name, err)
		}
		return u, nil
	}
	// shadow's tools first; busybox has only the others.
	commands := [][]string{{"useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/var/lib/" + name, "--shell", nologin(), "--comment", d.Title, name}}
	if _, err := exec.LookPath("useradd"); err != nil {
		commands = [][]string{{"addgroup", "-S", name}, {"adduser", "-S", "-D", "-H", "-h", "/var/lib/" + name, "-s", nologin(), "-G", name, "-g", d.Title, name}}
	}
	for _, c := range commands {
		if out, err := exec.CommandContext(ctx, c[0], c[1:]...).CombinedOutput(); err != nil { //nolint:gosec // of our own words
			return nil, fmt.Errorf("make the user %s: %s: %w: %s", name, c[0], err, strings.TrimSpace(string(out)))
		}
	}
	if u, err = user.Lookup(name); err != nil {
		return nil, fmt.Errorf("user %s: %w", name, err)
	}
	fmt.Fprintf(w, "made the system user %s\n", name)
	return u, nil
}

func nologin() string {
	for _, path := range []string{"/usr/sbin/nologin", "/sbin/nologin"} {
		if exists(path) {
			return path
		}
	}
	return "/bin/false"
}

// configuration writes the sample if there is no configuration.
func (d Daemon) configuration(path string, gid int, w io.Writer) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // other programs of ours have theirs there
		return fmt.Errorf("directory of the configuration: %w", err)
	}
	secrets := filepath.Join(filepath.Dir(path), d.Short) // for password files
	if err := os.Mkdir(secrets, 0o750); err == nil {
		if err := os.Lchown(secrets, 0, gid); err != nil {
			return fmt.Errorf("directory of password files: %w", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("directory of password files: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640) //nolint:gosec // its group is the daemon's
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	_, err = f.Write(d.Sample)
	if err = errors.Join(err, f.Chown(0, gid), f.Close()); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	fmt.Fprintf(w, "wrote %s, which explains every key and sets none\n", path)
	return nil
}

// hold makes the state directory, or gives one that root has used so far to the account.
func (d Daemon) hold(state string, uid, gid int) error {
	if err := os.MkdirAll(state, d.Mode); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	info, err := os.Lstat(state)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("state directory %s is no directory", state)
	}
	mine, err := ownedByRoot(info)
	if err != nil || !mine || uid == 0 {
		return err
	}
	// The directory itself last: until then nobody but root can put anything into it.
	var paths []string
	err = filepath.WalkDir(state, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if root, err := ownedByRoot(info); err != nil || !root {
			return err
		}
		paths = append(paths, path)
		return nil
	})
	for i := len(paths) - 1; i >= 0 && err == nil; i-- {
		err = os.Lchown(paths[i], uid, gid)
	}
	if err != nil {
		return fmt.Errorf("give the state directory to its account: %w", err)
	}
	return nil
}

// Uninstall stops the service and removes it. Configuration, state and account stay.
func (d Daemon) Uninstall(w io.Writer) error {
	if path := d.packaged(); path != "" {
		return fmt.Errorf("%w (%s): remove the package %s; nothing was changed", ErrPackaged, path, d.Name)
	}
	if os.Geteuid() != 0 {
		return errors.New("uninstall needs root")
	}
	s, err := d.service(service.Config{})
	if err != nil {
		return err
	}
	st, err := d.state(s)
	if errors.Is(err, service.ErrNotInstalled) {
		return fmt.Errorf("there is no service %s here (%s)", d.Name, s.Platform())
	}
	if st == service.StatusRunning {
		if err := s.Stop(); err != nil {
			return fmt.Errorf("stop the service: %w", err)
		}
	}
	if err := s.Uninstall(); err != nil {
		return fmt.Errorf("remove the service (%s): %w", s.Platform(), err)
	}
	fmt.Fprintf(w, "removed the service %s; configuration, state and account stay\n", d.Name)
	return nil
}

// state is what the init system knows of the service.
func (d Daemon) state(s service.Service) (service.Status, error) {
	// That of SysV does not tell a service that is not there from one that is broken.
	if s.Platform() == "unix-systemv" && !exists("/etc/init.d/"+d.Name) {
		return service.StatusUnknown, service.ErrNotInstalled
	}
	return s.Status()
}

// Control starts, stops or restarts the service. A stop waits for running jobs, as the configuration says.
func (d Daemon) Control(action string) error {
	s, err := d.service(service.Config{})
	if err != nil {
		return err
	}
	if path := d.packaged(); path != "" && s.Platform() != "linux-systemd" {
		return fmt.Errorf("%w for systemd, which does not run here: `%s %s` runs it by hand", ErrPackaged, d.Name, d.Verb)
	}
	if _, err := d.state(s); errors.Is(err, service.ErrNotInstalled) {
		return fmt.Errorf("there is no service %s here (%s): `%s install` makes one", d.Name, s.Platform(), d.Name)
	}
	if err := service.Control(s, action); err != nil {
		return fmt.Errorf("%s the service: %w", action, err)
	}
	return nil
}

// Reload asks a program to read its configuration anew: the process pid, or for 0 the one that works on the state directory, whatever
// it was started by. What came of it stands in its log. A configuration with a mistake is returned here too.
func (d Daemon) Reload(file string, pid int) error {
	state, _, err := d.Read(file)
	if err != nil {
		return err
	}
	if pid == 0 {
		if pid, err = holder(filepath.Join(state, "lock")); err != nil {
			return fmt.Errorf("look for the running %s: %w", d.Name, err)
		}
	}
	if pid <= 0 {
		return fmt.Errorf("no %s works on %s", d.Name, state)
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("tell process %d: %w", pid, err)
	}
	return nil
}

// Status says on w what is known of the service, with or without systemd. It returns ErrNotRunning if the program does not run.
func (d Daemon) Status(file string, w io.Writer) error {
	s, err := d.service(service.Config{})
	if err != nil {
		return err
	}
	state, how := "not installed", "a program that is started by hand"
	switch st, err := d.state(s); {
	case errors.Is(err, service.ErrNotInstalled):
	case err != nil:
		state = "unknown: " + err.Error()
	case st == service.StatusRunning:
		state = "running"
	default:
		state = "stopped"
	}
	if path := d.packaged(); path != "" {
		how = "a package (" + path + ")"
		if s.Platform() != "linux-systemd" {
			state = "not known to the init system, as systemd does not run here"
		}
	} else if state != "not installed" {
		how = d.Name + " install"
	}
	fmt.Fprintf(w, "service        %s\ninit system    %s\ncame by        %s\n", state, s.Platform(), how)
	dir, _, err := d.Read(file)
	if err != nil {
		fmt.Fprintf(w, "configuration  %v\n", err)
		if state == "running" {
			return nil
		}
		return ErrNotRunning
	}
	fmt.Fprintf(w, "configuration  %s\n", file)
	switch pid, err := holder(filepath.Join(dir, "lock")); {
	case err != nil:
		fmt.Fprintf(w, "process        not known: %v\n", err)
	case pid == 0:
		fmt.Fprintf(w, "process        none works on %s\n", dir)
	default:
		fmt.Fprintf(w, "process        %d works on %s\n", pid, dir)
		return nil
	}
	if state == "running" {
		return nil
	}
	return ErrNotRunning
}

func numbers(u *user.User) (uid, gid int, err error) {
	if uid, err = strconv.Atoi(u.Uid); err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	if err != nil {
		return 0, 0, fmt.Errorf("user %s: %w", u.Username, err)
	}
	return uid, gid, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
