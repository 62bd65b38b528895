package postgres

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"devflowbackup/agent/internal/engine"
)

// Places are where servers of this host are looked for.
func Places() engine.Places {
	return engine.Places{Sockets: []string{"/var/run/postgresql", "/run/postgresql", "/tmp"}}
}

var socketName = regexp.MustCompile(`^\.s\.PGSQL\.(\d{1,5})$`)

// Find lists the servers of this host that listen on a socket, each once.
func Find(ctx context.Context, places engine.Places) (found []engine.Local, mentions []engine.Mention) {
	seen := map[string]bool{}
	for _, dir := range places.Sockets {
		entries, err := os.ReadDir(dir)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) {
				mentions = append(mentions, engine.Mention{Text: err.Error()})
			}
			continue
		}
		for _, entry := range entries {
			m := socketName.FindStringSubmatch(entry.Name())
			if m == nil || entry.Type()&fs.ModeSocket == 0 {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			once, err := filepath.EvalSymlinks(path)
			if err != nil || seen[once] {
				continue
			}
			seen[once] = true
			conn, peer, err := engine.Dial(ctx, path)
			if err != nil {
				mentions = append(mentions, engine.Mention{Text: fmt.Sprintf("nobody listens at %s: it was left by a server", path)})
				continue
			}
			_ = conn.Close()
			port, _ := strconv.Atoi(m[1])
			one := engine.Local{Name: "postgresql", Host: dir, Port: port, Socket: path, Version: "PostgreSQL", Account: peer.Account}
			if port != defaultPort {
				one.Name += "-" + m[1]
			}
			for i, n := one.Name, 2; slices.ContainsFunc(found, func(l engine.Local) bool { return l.Name == one.Name }); n++ {
				one.Name = fmt.Sprintf("%s-%d", i, n)
			}
			// A server works in its data directory.
			if version, err := os.ReadFile(fmt.Sprintf("/proc/%d/cwd/PG_VERSION", peer.PID)); err == nil {
				one.Version += " " + strings.TrimSpace(string(version))
			}
			found = append(found, one)
		}
	}
	return found, mentions
}

// Covers tells whether an instance with that host and port is the server.
func Covers(l engine.Local, host string, port int) bool {
	if port != l.Port {
		return false
	}
	if ip := net.ParseIP(host); host == "localhost" || ip != nil && ip.IsLoopback() {
		return true
	}
	socket, err := filepath.EvalSymlinks(filepath.Join(host, ".s.PGSQL."+strconv.Itoa(port)))
	its, errIts := filepath.EvalSymlinks(l.Socket)
	return err == nil && errIts == nil && socket == its
}

// Grant runs the script as the superuser that the server knows by the account of this process, which must be the server's own, and puts
// its lines into the server's files. It may be run again.
func Grant(ctx context.Context, r engine.GrantRequest) error {
	cfg, err := pgx.ParseConfig("host=x user=x dbname=x sslmode=disable passfile=/dev/null servicefile=/dev/null target_session_attrs=any")
	if err != nil {
		return fmt.Errorf("connect to %s: %w", r.Local.Socket, err)
	}
	cfg.Host, cfg.Port, cfg.Password, cfg.Database = r.Local.Host, uint16(r.Local.Port), "", defaultDatabase //nolint:gosec // 5 digits
	cfg.Fallbacks, cfg.TLSConfig = nil, nil
	cfg.ConnectTimeout = defaultConnectTimeout
	cfg.RuntimeParams = map[string]string{"application_name": applicationName, "search_path": "pg_catalog, pg_temp"}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	var conn *pgx.Conn
	var failed []error
	for _, cfg.User = range slices.Compact([]string{r.Local.Account, "postgres"}) {
		if conn, err = pgx.ConnectConfig(ctx, cfg); err == nil {
			break
		}
		failed = append(failed, err)
	}
	if conn == nil {
		return fmt.Errorf("connect to %s as a superuser: %w", r.Local.Socket, errors.Join(failed...))
	}
	defer hangUp(ctx, conn)
	lines := map[string]string{}
	for _, step := range r.Script.Steps {
		switch {
		case step.Option:
		case step.Kind == engine.StepFile:
			name, _, _ := strings.Cut(step.In, ",")
			lines[name] = step.Do
		case step.Kind == engine.StepSQL:
			if _, err := conn.Exec(ctx, step.Do); err != nil {
				return fmt.Errorf("run %s: %w", step.Do, err)
			}
		}
	}
	return letIn(ctx, conn, lines[hbaFile], lines[identFile])
}

const (
	hbaFile   = "pg_hba.conf"
	identFile = "pg_ident.conf"
)

// letIn puts the lines first into the server's files, unless they are there, and tells it to read them. A server that does not understand
// them gets its old files back.
func letIn(ctx context.Context, conn *pgx.Conn, rule, entry string) error {
	if rule == "" {
		return nil
	}
	var undo []func() error
	for _, add := range []struct{ setting, line string }{{"ident_file", entry}, {"hba_file", rule}} {
		var path string
		if err := conn.QueryRow(ctx, "SELECT setting FROM pg_settings WHERE name = $1", add.setting).Scan(&path); err != nil {
			return fmt.Errorf("look for %s: %w", add.setting, err)
		}
		back, err := putFirst(path, add.line)
		if err != nil {
			return errors.Join(fmt.Errorf("add %q to %s: %w", add.line, path, err), unwind(undo))
		}
		if back != nil {
			undo = append(undo, back)
		}
	}
	if len(undo) == 0 {
		return nil
	}
	var wrong []string
	if err := conn.QueryRow(ctx, "SELECT array(SELECT 'line ' || line_number || ': ' || error FROM pg_hba_file_rules WHERE error IS NOT NULL)").Scan(&wrong); err != nil || len(wrong) > 0 {
		return errors.Join(fmt.Errorf("the server does not understand its pg_hba.conf (%s), which is left as it was: %w", strings.Join(wrong, "; "), errors.Join(err, fs.ErrInvalid)), unwind(undo))
	}
	if _, err := conn.Exec(ctx, "SELECT pg_reload_conf()"); err != nil {
		return fmt.Errorf("make the server read its files: %w", err)
	}
	return nil
}

func unwind(undo []func() error) (err error) {
	for _, back := range slices.Backward(undo) {
		err = errors.Join(err, back())
	}
	return err
}

// putFirst puts a line at the start of a file, whole or not at all; back takes it out again. It is nil if the line was there.
func putFirst(path, line string) (back func() error, err error) {
	if path, err = filepath.EvalSymlinks(path); err != nil {
		return nil, fmt.Errorf("look for file: %w", err)
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read file: %w", err)
	}
	for have := range strings.Lines(string(old)) {
		if strings.Join(strings.Fields(have), " ") == line {
			return nil, nil
		}
	}
	if err := replace(path, []byte("# devflow-agent restores as a role of its own.\n"+line+"\n"+string(old))); err != nil {
		return nil, err
	}
	return func() error { return replace(path, old) }, nil
}

// replace gives a file new content, and leaves its mode.
func replace(path string, text []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("look at file: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".devflow-")
	if err != nil {
		return fmt.Errorf("make file: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write file: %w", err)
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		_ = os.Chown(f.Name(), -1, int(st.Gid)) // as far as the account may
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return fmt.Errorf("replace file: %w", err)
	}
	return nil
}
