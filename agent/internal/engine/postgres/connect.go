package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"devflowbackup/agent/internal/engine/tool"
)

const applicationName = "devflow-agent"

// systemAuthorities is the system's file of certificate authorities, empty if there is none.
func systemAuthorities() string {
	for _, path := range []string{
		"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem",
	} {
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ""
}

// settings are those of every connection of ours. Nothing in the database can change what our statements mean.
func (e *Engine) settings() map[string]string {
	return map[string]string{
		"application_name":                    applicationName,
		"client_encoding":                     "UTF8",
		"search_path":                         "pg_catalog, pg_temp",
		"statement_timeout":                   "0",
		"idle_in_transaction_session_timeout": "0",
		"lock_timeout":                        strconv.FormatInt(e.cfg.LockTimeout.Milliseconds(), 10),
		"row_security":                        "off", // an error instead of fewer rows
	}
}

// connect opens a connection. The caller closes it with hangUp.
func (e *Engine) connect(ctx context.Context, who account, database string) (*pgx.Conn, error) {
	// Every setting of ours is given, so that none comes from the environment. Names and password are set below, unparsed.
	quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	dsn := fmt.Sprintf("host='%s' port=%d user=x dbname=x sslmode=%s connect_timeout=%d passfile=/dev/null servicefile=/dev/null target_session_attrs=any",
		quote.Replace(e.cfg.Host), e.cfg.Port, e.cfg.SSLMode, int(defaultConnectTimeout.Seconds()))
	if e.cfg.SSLRootCert != "" {
		dsn += fmt.Sprintf(" sslrootcert='%s'", quote.Replace(e.cfg.SSLRootCert))
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, e.connectFailure(ctx, err, database, who)
	}
	cfg.User, cfg.Password, cfg.Database = who.user, who.password.Reveal(), database
	cfg.RuntimeParams = e.settings()
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.OnNotice = nil
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, e.connectFailure(ctx, err, database, who)
	}
	return conn, nil
}

// hangUp closes a connection, also after ctx has ended.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	_ = conn.Close(ctx)
}

// serverVersion is "15.18" and 15.
func serverVersion(conn *pgx.Conn) (text string, major int) {
	text, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ")
	return text, leadingNumber(text)
}

func leadingNumber(text string) int {
	end := 0
	for end < len(text) && text[end] >= '0' && text[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(text[:end])
	return n
}

// passwordFile is the account's password as libpq reads it. With an empty password the file is empty, so that libpq
// looks nowhere else.
func passwordFile(who account) (*os.File, error) {
	var line string
	if !who.password.Empty() {
		line = "*:*:*:*:" + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(who.password.Reveal()) + "\n"
	}
	return tool.MemoryFile("pgpass", []byte(line))
}

// environment is the whole environment of a program that connects. The password is its file 0. A database name in
// PGDATABASE is only ever a name; in an argument it could be a connection string.
func (e *Engine) environment(program string, who account, database string) []string {
	env := []string{
		"PATH=" + filepath.Dir(program) + ":/usr/bin:/bin",
		"LC_ALL=C.UTF-8",
		"PGHOST=" + e.cfg.Host,
		"PGPORT=" + strconv.Itoa(e.cfg.Port),
		"PGUSER=" + who.user,
		"PGDATABASE=" + database,
		"PGPASSFILE=" + tool.FilePath(0),
		"PGSSLMODE=" + e.cfg.SSLMode,
		"PGCONNECT_TIMEOUT=" + strconv.Itoa(int(defaultConnectTimeout.Seconds())),
		"PGAPPNAME=" + applicationName + " " + filepath.Base(program),
	}
	if e.cfg.SSLRootCert != "" {
		env = append(env, "PGSSLROOTCERT="+e.cfg.SSLRootCert)
	}
	return env
}

// command is a program that connects as who to database. done closes the password file once the program was started.
func (e *Engine) command(program string, who account, database string, args ...string) (c tool.Command, done func(), err error) {
	password, err := passwordFile(who)
	if err != nil {
		return tool.Command{}, nil, err
	}
	return tool.Command{
		Path: program, Args: args, Env: e.environment(program, who, database), Files: []*os.File{password},
		Nice: e.cfg.Nice, Secrets: e.secrets(),
	}, func() { _ = password.Close() }, nil
}
