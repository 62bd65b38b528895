package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// ErrNotInstalled is wrapped by the error for missing PostgreSQL server binaries.
var ErrNotInstalled = errors.New("PostgreSQL server binaries are not installed")

// Bin is one installed PostgreSQL: the directory of its binaries and its version.
type Bin struct {
	Dir     string // has initdb, postgres and psql
	Major   int    // for example 15
	Version string // as the server prints it, for example "15.8 (Debian 15.8-0+deb12u1)"
}

func (b Bin) path(name string) string { return filepath.Join(b.Dir, name) }

// Find returns the newest PostgreSQL installed: of /usr/lib/postgresql/*/bin, and of what pg_config on the PATH names.
func Find() (Bin, error) {
	var newest Bin
	for _, b := range installed() {
		if b.Major > newest.Major {
			newest = b
		}
	}
	if newest.Dir == "" {
		return Bin{}, fmt.Errorf("find PostgreSQL: %w: install the package `postgresql` (Debian, Ubuntu) or `postgresql-server` (Fedora, RHEL)", ErrNotInstalled)
	}
	return newest, nil
}

// FindMajor returns the installed PostgreSQL of this major version.
func FindMajor(major int) (Bin, error) {
	for _, b := range installed() {
		if b.Major == major {
			return b, nil
		}
	}
	return Bin{}, fmt.Errorf("find PostgreSQL %d: %w: install the package `postgresql-%d` (Debian, Ubuntu)", major, ErrNotInstalled, major)
}

// FindIn returns the PostgreSQL whose programs are in root/bin.
func FindIn(root string) (Bin, error) {
	b, err := inspect(filepath.Join(root, "bin"))
	if err != nil {
		return Bin{}, fmt.Errorf("find PostgreSQL in %s: %w: %w", root, ErrNotInstalled, err)
	}
	return b, nil
}

func installed() []Bin {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	more, _ := filepath.Glob("/usr/pgsql-*/bin")
	dirs = append(dirs, more...)
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(path))
	}
	var found []Bin
	for _, dir := range dirs {
		if b, err := inspect(dir); err == nil {
			found = append(found, b)
		}
	}
	return found
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) ((\d+)\S*.*)$`)

func inspect(dir string) (Bin, error) {
	b := Bin{Dir: dir}
	for _, name := range []string{"initdb", "psql"} {
		if info, err := os.Stat(b.path(name)); err != nil {
			return Bin{}, err
		} else if info.Mode()&0o111 == 0 {
			return Bin{}, fmt.Errorf("%s is not executable", b.path(name))
		}
	}
	out, err := exec.Command(b.path("postgres"), "--version").Output()
	if err != nil {
		return Bin{}, fmt.Errorf("read version of %s: %w", b.path("postgres"), err)
	}
	match := versionLine.FindStringSubmatch(strings.TrimSpace(string(out)))
	if match == nil {
		return Bin{}, fmt.Errorf("read version of %s: unknown answer %q", b.path("postgres"), out)
	}
	b.Version = match[1]
	b.Major, err = strconv.Atoi(match[2])
	return b, err
}
