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
var ErrNotInstalled = errors.New("database server binaries are not installed")

// Bin is one installed server and its programs.
type Bin struct {
	Flavour string // MariaDB or MySQL
	Server  string // path of mariadbd or mysqld
	Client  string // path of mariadb or mysql
	Install string // path of mariadb-install-db; empty for MySQL, whose server does it
	// BaseDir holds share/ with error messages and, for MySQL, plugins; empty is what the server was built with.
	BaseDir string
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

// FindIn returns the MySQL server whose programs are in root/bin, with their files in root/usr, as packages have it, or in
// root itself, as Oracle's archives have it.
func FindIn(root string) (Bin, error) {
	b := Bin{Server: filepath.Join(root, "bin/mysqld"), Client: filepath.Join(root, "bin/mysql"), BaseDir: root}
	if info, err := os.Stat(filepath.Join(root, "usr/share")); err == nil && info.IsDir() {
		b.BaseDir = filepath.Join(root, "usr")
	}
	for _, program := range []string{b.Server, b.Client} {
		if !executable(program) {
			return Bin{}, fmt.Errorf("find MySQL in %s: %w: no %s", root, ErrNotInstalled, program)
		}
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
	cmd := exec.Command(b.Server, "--no-defaults", "--version")
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

// environment is the whole environment of the child processes.
func environment() []string {
	return []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "TZ=UTC", "HOME=/nonexistent"}
}
