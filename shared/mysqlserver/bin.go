package mysqlserver

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Flavours of the server. They differ in how a data directory is made and in their programs' names.
const (
	MariaDB = "mariadb"
	MySQL   = "mysql"
)

// ErrNotInstalled is wrapped by the error for missing server binaries.
var ErrNotInstalled = errors.New("MariaDB server binaries are not installed")

// Bin is one installed server and its programs.
type Bin struct {
	Flavour string // MariaDB or MySQL
	Server  string // path of mariadbd or mysqld
	Client  string // path of mariadb or mysql
	Install string // path of mariadb-install-db; empty for MySQL, whose server does it
	// BaseDir holds share/ with error messages and, for MySQL, plugins; empty is what the server was built with.
	BaseDir string
	// Loader is put before every program: a dynamic loader with its options, for programs unpacked into a root of their own.
	Loader  []string
	Version string // for example "10.11.19-MariaDB-0+deb12u1"
}

// Find returns the MariaDB server that is installed.
func Find() (Bin, error) {
	for _, dir := range []string{"/usr/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/usr/bin"} {
		server := filepath.Join(dir, "mariadbd")
		if !executable(server) {
			continue
		}
		install, err := firstOf("mariadb-install-db", "mysql_install_db")
		if err != nil {
			return Bin{}, err
		}
		client, err := firstOf("mariadb", "mysql")
		if err != nil {
			return Bin{}, err
		}
		return Bin{Server: server, Client: client, Install: install}.inspect()
	}
	return Bin{}, fmt.Errorf("find MariaDB: %w: install the package `mariadb-server`", ErrNotInstalled)
}

// FindIn returns the MySQL server of packages that were unpacked into root. If root has a dynamic loader of its own, its
// programs run by that one with its libraries.
func FindIn(root string) (Bin, error) {
	b := Bin{
		Server: filepath.Join(root, "usr/sbin/mysqld"), Client: filepath.Join(root, "usr/bin/mysql"), BaseDir: filepath.Join(root, "usr"),
	}
	if !executable(b.Server) || !executable(b.Client) {
		return Bin{}, fmt.Errorf("find MySQL in %s: %w", root, ErrNotInstalled)
	}
	loaders, err := filepath.Glob(filepath.Join(root, "usr/lib*/ld-linux-*.so.*"))
	if err != nil {
		return Bin{}, fmt.Errorf("find MySQL in %s: %w", root, err)
	}
	if more, err := filepath.Glob(filepath.Join(root, "usr/lib/*/ld-linux-*.so.*")); err == nil {
		loaders = append(more, loaders...)
	}
	if len(loaders) > 0 {
		paths, _ := filepath.Glob(filepath.Join(root, "usr/lib/*-linux-gnu"))
		paths = append(paths, filepath.Join(root, "usr/lib/mysql/private"), filepath.Join(root, "usr/lib"))
		b.Loader = []string{loaders[0], "--library-path", strings.Join(paths, ":")}
	}
	return b.inspect()
}

func firstOf(names ...string) (string, error) {
	for _, name := range names {
		if path := filepath.Join("/usr/bin", name); executable(path) {
			return path, nil
		}
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("find MariaDB: %w: no %s: install the packages `mariadb-server` and `mariadb-client`", ErrNotInstalled, names[0])
}

func executable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

var versionLine = regexp.MustCompile(`Ver (\S+)`)

func (b Bin) inspect() (Bin, error) {
	argv := b.argv(b.Server, "--no-defaults", "--version")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = environment()
	out, err := cmd.Output()
	if err != nil {
		return Bin{}, fmt.Errorf("read version of %s: %w", b.Server, err)
	}
	match := versionLine.FindSubmatch(out)
	if match == nil {
		return Bin{}, fmt.Errorf("read version of %s: unknown answer %q", b.Server, out)
	}
	b.Version, b.Flavour = string(match[1]), MySQL
	if strings.Contains(b.Version, "MariaDB") {
		b.Flavour = MariaDB
	}
	return b, nil
}

// argv is a program with its arguments, behind the loader if there is one.
func (b Bin) argv(program string, args ...string) []string {
	argv := append([]string{}, b.Loader...)
	return append(append(argv, program), args...)
}

// environment is the whole environment of the child processes.
func environment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/nonexistent"}
}
