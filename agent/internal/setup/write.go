package setup

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engines"
	"devflowbackup/shared/wire"
)

const (
	fileMode = 0o640 // as the package has it, for group is the agent's
	dirMode  = 0o750
	fileName = "sqlite" // of the instance
)

// read is the configuration that is there, nil if there is none, or one that cannot be read and is to be replaced.
func (r *run) read() (*config.Config, error) {
	text, err := os.ReadFile(r.o.Config)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	cfg, err := config.Load(text)
	if err == nil {
		err = cfg.Validate(engines.Names())
	}
	switch {
	case err == nil:
		return &cfg, nil
	case r.o.Force:
		return nil, nil
	}
	return nil, fmt.Errorf("%s: %w; --force replaces it and keeps it as %[1]s.bak", r.o.Config, err)
}

// write brings the configuration to what was found. One that has instances is left as it is, unless that is forced.
func (r *run) write(old *config.Config) error {
	wanted := r.wanted()
	r.report.State = Unchanged
	if old != nil && len(old.Instances) > 0 && !r.o.Force {
		r.compare(*old, wanted)
		return nil
	}
	if len(wanted) == 0 {
		r.need("", "no database server was found on this host", "name a socket by --socket, SQLite files by --sqlite, or write an instance for a server elsewhere into "+r.o.Config)
		if old != nil {
			return nil
		}
	}
	for _, in := range wanted {
		for _, file := range []string{in.Restore.PasswordFile, in.Restore.SwapPasswordFile} {
			if err := r.makePassword(file); err != nil {
				return err
			}
		}
	}
	text, err := os.ReadFile(r.o.Config)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("read configuration: %w", err)
	case old == nil, len(old.Instances) > 0:
		text = config.Sample
		if r.state != config.Default().StateDir {
			text = append(slices.Clone(text), "\nstate_dir: "+scalar(r.state)+"\n"...)
		}
	}
	if len(wanted) > 0 {
		text = noInstances.ReplaceAll(text, nil)
		text = append(bytes.TrimRight(slices.Clone(text), "\n"), "\n\n"+render(wanted)...)
	}
	cfg, err := config.Load(text)
	if err == nil {
		err = cfg.Validate(engines.Names())
	}
	if err != nil {
		return fmt.Errorf("configuration for what was found: %w", err)
	}
	return r.replace(text)
}

// noInstances is a line that says that there are none, which would stand in the way of ours.
var noInstances = regexp.MustCompile(`(?m)^instances:[ \t]*(?:\[[ \t]*\]|null|~)?[ \t]*(?:#.*)?$\n?`)

// wanted are the instances for what was found and named.
func (r *run) wanted() []config.Instance {
	wanted := make([]config.Instance, 0, len(r.servers)+1)
	for _, one := range r.servers {
		wanted = append(wanted, r.instance(one))
	}
	if len(r.o.SQLite) > 0 {
		wanted = append(wanted, config.Instance{Name: fileName, Engine: wire.EngineSQLite, Paths: r.o.SQLite, Restore: config.Restore{InPlace: r.o.InPlace}})
	}
	return wanted
}

// compare tells what the configuration lacks.
func (r *run) compare(old config.Config, wanted []config.Instance) {
	var missing []config.Instance
	for _, in := range wanted {
		if in.Engine == wire.EngineSQLite {
			in.Paths = slices.DeleteFunc(slices.Clone(in.Paths), func(path string) bool {
				return slices.ContainsFunc(old.Instances, func(have config.Instance) bool { return slices.Contains(have.Paths, path) })
			})
			if len(in.Paths) > 0 {
				missing = append(missing, in)
			}
			continue
		}
		one, _ := r.server(in)
		local, _ := engines.Local(in.Engine)
		if !slices.ContainsFunc(old.Instances, func(have config.Instance) bool {
			return have.Engine == in.Engine && local.Covers(one.Local, have.Host, have.Port)
		}) {
			missing = append(missing, in)
		}
	}
	for _, in := range old.Instances {
		if r.o.InPlace && !in.Restore.InPlaceAllowed() {
			r.need(in.Name, "the configuration, which was left as it is, allows no restores in place", "write in_place: true below its restore, and look at `devflow-agent setup --print "+in.Engine+" --in-place`")
		}
	}
	for i := range missing {
		for n, name := 2, missing[i].Name; taken(old.Instances, missing[i].Name) || taken(missing[:i], missing[i].Name); n++ {
			missing[i].Name = name + "-" + strconv.Itoa(n)
		}
		r.need(missing[i].Name, "it was found and is not in the configuration, which was left as it is", "add its lines to "+r.o.Config+", or let --force write it anew")
	}
	if len(missing) > 0 {
		r.report.Missing = render(missing)
	}
}

func taken(all []config.Instance, name string) bool {
	return slices.ContainsFunc(all, func(in config.Instance) bool { return in.Name == name })
}

// replace writes the file, whole or not at all, unless it has that text. What was there is kept if that was forced.
func (r *run) replace(text []byte) error {
	uid, gid, mode := 0, r.gid, fs.FileMode(fileMode)
	old, err := os.ReadFile(r.o.Config)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.MkdirAll(filepath.Dir(r.o.Config), 0o755); err != nil { //nolint:gosec // as the package has it
			return fmt.Errorf("make directory: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read configuration: %w", err)
	case bytes.Equal(old, text):
		return nil
	default:
		info, err := os.Stat(r.o.Config)
		if err != nil {
			return fmt.Errorf("look at configuration: %w", err)
		}
		mode = info.Mode().Perm()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			uid, gid = int(st.Uid), int(st.Gid)
		}
		if r.o.Force {
			r.report.Kept = r.o.Config + ".bak"
			if err := place(r.report.Kept, old, uid, gid, mode); err != nil {
				return err
			}
		}
	}
	if err := place(r.o.Config, text, uid, gid, mode); err != nil {
		return err
	}
	r.report.State = Written
	return nil
}

// place makes a file in a directory of root's.
func place(path string, text []byte, uid, gid int, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chown(uid, gid), f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// passwordFile is where the password of an account that a dump is restored as, or swapped by, stands.
func (r *run) passwordFile(instance, what string) string {
	return filepath.Join(filepath.Dir(r.o.Config), "agent", instance+"-"+what+".password")
}

// makePassword makes a file with a password of our own, unless there is one.
func (r *run) makePassword(path string) error {
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.Mkdir(dir, dirMode); err == nil {
		if err := os.Chown(dir, 0, r.gid); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	} else if !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make directory: %w", err)
	}
	if _, err := os.Lstat(path); err == nil {
		return nil
	}
	random := make([]byte, 24)
	_, _ = rand.Read(random)
	return place(path, []byte(base64.RawURLEncoding.EncodeToString(random)+"\n"), r.uid, r.gid, 0o600)
}

var bare = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/._-]*$`)

// scalar is a text in YAML.
func scalar(text string) string {
	if bare.MatchString(text) {
		return text
	}
	return strconv.Quote(text)
}

// render is the text of instances, without what has its default.
func render(instances []config.Instance) string {
	var b strings.Builder
	b.WriteString("# Found on this host by `devflow-agent setup`.\ninstances:\n")
	line := func(indent, key, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s%s: %s\n", indent, key, value)
		}
	}
	for _, in := range instances {
		line("  - ", "name", scalar(in.Name))
		const key, inner = "    ", "      "
		line(key, "engine", in.Engine)
		if in.Engine == wire.EngineSQLite {
			b.WriteString(key + "paths:\n")
			for _, path := range in.Paths {
				b.WriteString(inner + "- " + scalar(path) + "\n")
			}
			if in.Restore.InPlace {
				b.WriteString(key + "restore:\n" + inner + "in_place: true\n")
			}
			continue
		}
		line(key, "host", scalar(in.Host))
		if in.Port != 0 {
			line(key, "port", strconv.Itoa(in.Port))
		}
		line(key, "user", scalar(in.User)+" # known by the account of this host, without a password")
		b.WriteString(key + "restore:\n")
		if in.Restore.InPlace {
			line(inner, "in_place", "true")
		}
		for _, of := range []struct{ key, value string }{
			{"user", in.Restore.User},
			{"password_file", in.Restore.PasswordFile},
			{"swap_user", in.Restore.SwapUser},
			{"swap_password_file", in.Restore.SwapPasswordFile},
		} {
			if of.value != "" {
				line(inner, of.key, scalar(of.value))
			}
		}
	}
	return b.String()
}
