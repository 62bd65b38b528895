package mysql

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"devflowbackup/agent/internal/engine/tool"
)

// optionFile is what a program reads of how to connect. It is the only place that a password is in.
func (e *Engine) optionFile(flavour string, who account) (*os.File, error) {
	var b strings.Builder
	b.WriteString("[client]\n")
	set := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, quoteOption(value)) }
	if e.cfg.socket() {
		set("protocol", "SOCKET")
		set("socket", e.cfg.Host)
	} else {
		// "localhost" would be the socket otherwise.
		set("protocol", "TCP")
		set("host", e.cfg.Host)
		set("port", strconv.Itoa(e.cfg.Port))
	}
	set("user", who.user)
	set("password", who.password.Reveal())
	for _, option := range tlsOptions(flavour, e.cfg.SSLMode, e.cfg.SSLRootCert) {
		set(option[0], option[1])
	}
	return tool.MemoryFile("client.cnf", []byte(b.String()))
}

// tlsOptions says to a program what SSLMode means. MariaDB's clients fall back to a connection in clear text unless they
// check the host name; that the server offers TLS was seen by our own connection before.
func tlsOptions(flavour, mode, authorities string) [][2]string {
	if flavour == flavourMySQL {
		if mode == "disable" {
			// Else a password could not be sent safely to caching_sha2_password.
			return [][2]string{{"ssl-mode", "DISABLED"}, {"get-server-public-key", "1"}}
		}
		options := [][2]string{{"ssl-mode", map[string]string{
			"prefer": "PREFERRED", "require": "REQUIRED", "verify-ca": "VERIFY_CA", "verify-full": "VERIFY_IDENTITY",
		}[mode]}}
		if strings.HasPrefix(mode, "verify") {
			options = append(options, [2]string{"ssl-ca", authorities})
		}
		return options
	}
	switch mode {
	case "disable":
		return [][2]string{{"ssl", "0"}}
	case "verify-ca":
		return [][2]string{{"ssl", "1"}, {"ssl-ca", authorities}, {"ssl-verify-server-cert", "0"}}
	case "verify-full":
		return [][2]string{{"ssl", "1"}, {"ssl-ca", authorities}, {"ssl-verify-server-cert", "1"}}
	}
	return [][2]string{{"ssl", "1"}, {"ssl-verify-server-cert", "0"}}
}

// quoteOption writes a value of an option file so that it is read as it is: in quotes, a number sign is no comment and
// blanks stay.
func quoteOption(value string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`, "\t", `\t`, "\b", `\b`).Replace(value) + `"`
}

// facts are what the flags of a dump depend on.
type facts struct {
	server  server
	history bool // the database has system-versioned tables
}

const maxPacket = "--max-allowed-packet=1073741824"

// dumpArgs are the arguments of a dump program. We own the list: no option file of the host is read.
func dumpArgs(program binary, f facts, optionFile, database string) []string {
	args := []string{
		"--defaults-file=" + optionFile, // must be the first
		"--opt", "--single-transaction", "--skip-lock-tables", "--quick",
		// In one INSERT after another, LOCK TABLES gives nothing, and a table whose default is a sequence fails under it.
		"--skip-add-locks",
		"--routines", "--triggers", "--events", "--hex-blob", "--no-tablespaces", "--tz-utc",
		"--comments", "--dump-date", // with the end mark
		"--verbose", // tells when its transaction has begun: see begun
		"--default-character-set=utf8mb4", maxPacket,
	}
	if program.flavour == flavourMySQL {
		args = append(args, "--set-gtid-purged=OFF", "--column-statistics=0", "--loose-init-command=SET SESSION net_write_timeout = 86400")
	} else if f.history && program.atLeast(10, 11) && f.server.flavour == flavourMariaDB && f.server.atLeast(10, 11) {
		args = append(args, "--dump-history")
	}
	return append(args, "--", database)
}

// clientArgs are the arguments of a client that runs a dump. In binary mode, standard input holds no command of the
// client but "delimiter"; it stops at the first error.
func clientArgs(program binary, optionFile, database string) []string {
	args := []string{
		"--defaults-file=" + optionFile, // must be the first
		"--binary-mode", "--batch", "--no-auto-rehash", "--local-infile=0",
		"--comments", // those in routines are part of them
		"--default-character-set=utf8mb4", maxPacket,
		"--init-command=SET SESSION wait_timeout = 86400, net_read_timeout = 3600",
	}
	if program.flavour == flavourMariaDB {
		args = append(args, "--loose-sandbox")
	} else {
		args = append(args, "--loose-skip-system-command")
	}
	return append(args, "--", database)
}

// command is a program that connects as who. done closes its option file once the program was started.
func (e *Engine) command(program binary, who account, stall time.Duration, args func(optionFile string) []string) (c tool.Command, done func(), err error) {
	file, err := e.optionFile(program.flavour, who)
	if err != nil {
		return tool.Command{}, nil, err
	}
	return tool.Command{
		Path: program.path, Args: args(tool.FilePath(0)), Files: []*os.File{file}, StallTimeout: stall,
		Env:  []string{"PATH=" + filepath.Dir(program.path) + ":/usr/bin:/bin", "LC_ALL=C.UTF-8", "HOME=/nonexistent", "MYSQL_HISTFILE=/dev/null"},
		Nice: e.cfg.Nice, Secrets: e.secrets(),
	}, func() { _ = file.Close() }, nil
}
