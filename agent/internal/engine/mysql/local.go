package mysql

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"devflowbackup/agent/internal/engine"
)

// Places are where servers of this host are looked for.
func Places() engine.Places {
	return engine.Places{
		Sockets: []string{"/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/run/mysql/mysql.sock", "/tmp/mysql.sock"},
		OptionFiles: []string{
			"/etc/my.cnf", "/etc/my.cnf.d/*.cnf", "/etc/mysql/*.cnf", "/etc/mysql/conf.d/*.cnf", "/etc/mysql/mariadb.conf.d/*.cnf",
			"/etc/mysql/mysql.conf.d/*.cnf", "/root/.my.cnf",
		},
	}
}

// options reads what an option file says of sockets and whether it holds a password, which is not read.
func options(path string) (sockets []string, password bool, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, false, fmt.Errorf("read option file: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		name, value, found := strings.Cut(strings.TrimSpace(line), "=")
		value, _, _ = strings.Cut(value, " #")
		switch strings.ReplaceAll(strings.TrimSpace(name), "_", "-") {
		case "socket":
			if value = strings.Trim(strings.TrimSpace(value), `"'`); found && filepath.IsAbs(value) {
				sockets = append(sockets, value)
			}
		case "password":
			password = password || found && strings.TrimSpace(value) != ""
		}
	}
	return sockets, password, nil
}

// Find lists the servers of this host that listen on a socket, each once. Option files with passwords are mentioned and not used.
func Find(ctx context.Context, places engine.Places) (found []engine.Local, mentions []engine.Mention) {
	mention := func(format string, args ...any) {
		mentions = append(mentions, engine.Mention{Text: fmt.Sprintf(format, args...)})
	}
	sockets, readOptions := places.Sockets, map[string]bool{}
	for _, pattern := range places.OptionFiles {
		files, _ := filepath.Glob(pattern) // fails only for a pattern that is wrong
		for _, file := range files {
			path, err := filepath.EvalSymlinks(file)
			if err != nil || readOptions[path] {
				continue
			}
			readOptions[path] = true
			more, password, err := options(file)
			if err != nil {
				mention("%v", err)
				continue
			}
			sockets = append(sockets, more...)
			if password {
				mention("%s holds the password of another program: it is not used, for the agent has accounts of its own", file)
			}
		}
	}
	seen, count := map[string]bool{}, map[string]int{}
	for _, socket := range sockets {
		path, err := filepath.EvalSymlinks(socket)
		if err != nil || seen[path] {
			continue
		}
		seen[path] = true
		conn, peer, err := engine.Dial(ctx, socket)
		if err != nil {
			mention("nobody listens at %s: it was left by a server", socket)
			continue
		}
		version, err := greeting(conn)
		_ = conn.Close()
		if err != nil {
			mention("what listens at %s is no MySQL or MariaDB that takes connections: %v", socket, err)
			continue
		}
		s := parseServer(version, "")
		one := engine.Local{Name: "mysql", Host: socket, Socket: socket, Version: "MySQL " + s.version, Account: peer.Account}
		if s.flavour == flavourMariaDB {
			one.Name, one.MariaDB, one.Version = "mariadb", true, "MariaDB "+strings.TrimSuffix(s.version, "-MariaDB")
		}
		count[one.Name]++
		if n := count[one.Name]; n > 1 {
			one.Name = fmt.Sprintf("%s-%d", one.Name, n)
		}
		found = append(found, one)
	}
	return found, mentions
}

// greeting is the version that a server tells before anybody has logged in.
func greeting(conn net.Conn) (version string, err error) {
	r := bufio.NewReader(conn)
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return "", fmt.Errorf("read greeting: %w", err)
	}
	body := make([]byte, int(head[0])|int(head[1])<<8)
	if _, err := io.ReadFull(r, body); err != nil {
		return "", fmt.Errorf("read greeting: %w", err)
	}
	const protocol = 10
	text, _, found := bytes.Cut(body[min(1, len(body)):], []byte{0})
	if len(body) == 0 || body[0] != protocol || !found {
		return "", fmt.Errorf("greeting of an unknown protocol: %q", body[:min(80, len(body))])
	}
	return string(text), nil
}

// Covers tells whether an instance with that host and port is the server. What a socket's port is, nobody tells a stranger: an instance
// on loopback is taken for it.
func Covers(l engine.Local, host string, _ int) bool {
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	socket, err := filepath.EvalSymlinks(host)
	its, errIts := filepath.EvalSymlinks(l.Socket)
	return err == nil && errIts == nil && socket == its
}

// Grant runs the script as the server's root, whom it must know by the operating system's, which this process must be. It may be run
// again: accounts with passwords have those of the request after it.
func Grant(ctx context.Context, r engine.GrantRequest) error {
	cfg := driver.NewConfig()
	cfg.Net, cfg.Addr, cfg.User = "unix", r.Local.Socket, "root"
	cfg.Timeout, cfg.Logger = defaultConnectTimeout, &driver.NopLogger{}
	cfg.Params = map[string]string{"sql_mode": "''"}
	connector, err := driver.NewConnector(cfg)
	if err != nil {
		return fmt.Errorf("connect to %s: %w", r.Local.Socket, err)
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	conn, err := db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("connect to %s as root: %w", r.Local.Socket, err)
	}
	defer func() { _ = conn.Close() }()
	for _, step := range r.Script.Steps {
		if step.Option || step.Kind != engine.StepSQL {
			continue
		}
		statements := []string{step.Do}
		if step.Secret != "" {
			password := r.Passwords[step.Secret]
			if password.Empty() {
				return fmt.Errorf("run %s: there is no password for it: %w", step.Do, errors.ErrUnsupported)
			}
			text := quoteText(password.Reveal())
			statements = []string{
				strings.Replace(step.Do, engine.Password, text, 1),
				"ALTER USER " + onThisHost(step.Secret) + " IDENTIFIED BY " + text,
			}
		}
		for _, statement := range statements {
			if _, err := conn.ExecContext(ctx, statement); err != nil {
				if answer := (*driver.MySQLError)(nil); step.Secret != "" && errors.As(err, &answer) {
					err = fmt.Errorf("answer %d", answer.Number) // a syntax error tells what is near it
				}
				return fmt.Errorf("run %s: %w", step.Do, err)
			}
		}
	}
	return nil
}
