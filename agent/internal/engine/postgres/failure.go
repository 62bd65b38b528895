package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"devflowbackup/agent/internal/engine/tool"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/wire"
)

// stopped is the failure of work that ctx ended, nil if ctx goes on.
func stopped(ctx context.Context, what string) *wire.Failure {
	if ctx.Err() == nil {
		return nil
	}
	cause := context.Cause(ctx)
	var failure *wire.Failure
	switch {
	case errors.As(cause, &failure):
		return failure
	case errors.Is(cause, context.DeadlineExceeded):
		return wire.Failf(wire.CodeTimedOut, "%s: %w", what, cause)
	}
	return wire.Failf(wire.CodeCancelled, "%s: %w", what, cause)
}

func (e *Engine) where(database string) string {
	return fmt.Sprintf("database %q on %s", database, e.address())
}

func (e *Engine) address() string {
	if e.cfg.socket() {
		return fmt.Sprintf("socket %s, port %d", e.cfg.Host, e.cfg.Port)
	}
	return net.JoinHostPort(e.cfg.Host, fmt.Sprint(e.cfg.Port))
}

func (e *Engine) scrub(err error) error {
	return scrubbed{err, secret.Scrub(err.Error(), e.secrets()...)}
}

// scrubbed is an error whose text was cleaned of secrets.
type scrubbed struct {
	err  error
	text string
}

func (s scrubbed) Error() string { return s.text }
func (s scrubbed) Unwrap() error { return s.err }

// connectFailure says why a connection as who could not be had.
func (e *Engine) connectFailure(ctx context.Context, err error, database string, who account) *wire.Failure {
	what := fmt.Sprintf("connect to %s as %q", e.where(database), who.user)
	if f := stopped(ctx, what); f != nil {
		return f
	}
	err = e.scrub(err)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return e.sqlFailure(ctx, err, what, database)
	}
	var (
		verify   *tls.CertificateVerificationError
		host     x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		alert    tls.AlertError
		noRecord tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &verify), errors.As(err, &host), errors.As(err, &unknown), errors.As(err, &invalid), errors.As(err, &alert),
		errors.As(err, &noRecord), strings.Contains(err.Error(), "refused TLS"), strings.Contains(err.Error(), "configure TLS"):
		return wire.Failf(wire.CodeTLS, "%s: %w", what, err).
			WithHint("ssl_mode is %s and the authorities are those of %q: use the name that is in the server's certificate and the authority that signed it", e.cfg.SSLMode, e.cfg.SSLRootCert)
	}
	return wire.Failf(wire.CodeDatabaseDown, "%s: %w", what, err).Retry().
		WithHint("is PostgreSQL running and listening there?")
}

// sqlFailure maps an answer of the server, or a lost connection.
func (e *Engine) sqlFailure(ctx context.Context, err error, what, database string) *wire.Failure {
	if f := stopped(ctx, what); f != nil {
		return f
	}
	var already *wire.Failure
	if errors.As(err, &already) {
		return already
	}
	err = e.scrub(err)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return wire.Failf(wire.CodeDatabaseDown, "%s: %w", what, err).Retry()
	}
	switch pg.Code {
	case "28P01", "28000":
		if m := noPeer.FindStringSubmatch(pg.Message); m != nil {
			return wire.Failf(wire.CodeAuth, "%s: %w", what, err).WithHint("%s", peerHint(m[1]))
		}
		return wire.Failf(wire.CodeAuth, "%s: %w", what, err).
			WithHint("check user and password of the instance %q in the agent's configuration, and pg_hba.conf", e.cfg.Name)
	case "3D000":
		return e.missing(database, err)
	case "42P04":
		return wire.Failf(wire.CodeTargetExists, "%s: %w", what, err)
	case "42501":
		return wire.Failf(wire.CodePrivilege, "%s: %w", what, err).WithHint("%s", e.grantHint(err.Error()))
	case "55P03":
		return e.lockTimeout(database, err)
	case "53100":
		return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err)
	case "53300", "57P03", "57P01", "57P02":
		return wire.Failf(wire.CodeDatabaseDown, "%s: %w", what, err).Retry()
	}
	return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry()
}

func (e *Engine) missing(database string, err error) *wire.Failure {
	return wire.Failf(wire.CodeDatabaseMissing, "there is no %s: %w", e.where(database), err).
		WithHint("was it dropped or renamed?")
}

func (e *Engine) lockTimeout(database string, err error) *wire.Failure {
	return wire.Failf(wire.CodeLockTimeout, "a table of %s was locked for more than %s: %w", e.where(database), e.cfg.LockTimeout, err).
		Retry().WithHint("something alters a table: run the backup when it is done")
}

// noPeer is how the server refuses a role that the host's account is not known as.
var noPeer = regexp.MustCompile(`^Peer authentication failed for user "(.*)"$`)

// peerHint says how this process's account may be a role.
func peerHint(role string) string {
	account := strconv.Itoa(os.Geteuid())
	if u, err := user.Current(); err == nil {
		account = u.Username
	}
	return fmt.Sprintf("put the line %q before all others into pg_hba.conf, and %q into pg_ident.conf, and run SELECT pg_reload_conf(); or set a password",
		peerRule(role), peerEntry(account, role))
}

// closedDatabase is how the server refuses a connection to a database.
var closedDatabase = regexp.MustCompile(`permission denied for database "(.*?)"(?:\s|$)`)

// grantHint says how the backup account gets the right that it lacks.
func (e *Engine) grantHint(text string) string {
	who := e.cfg.User
	switch {
	case strings.Contains(text, "row-level security"), strings.Contains(text, "row security"):
		return "row security hides rows from the account: run " + grantBypass(who)
	case strings.Contains(text, "large object"):
		return "large objects can be read by their owner or a superuser only: use such a role"
	}
	if m := closedDatabase.FindStringSubmatch(text); m != nil {
		return "run " + grantConnect(m[1], who)
	}
	return "run " + grantReadAll(who)
}

// toolFailure says why a program that worked on a database ended.
func (e *Engine) toolFailure(ctx context.Context, err error, what, database string) *wire.Failure {
	if f := stopped(ctx, what); f != nil {
		return f
	}
	var already *wire.Failure
	if errors.As(err, &already) {
		return already
	}
	err = e.scrub(err)
	var exit *tool.ExitError
	switch {
	case errors.Is(err, tool.ErrStalled):
		return wire.Failf(wire.CodeStalled, "%s: %w", what, err).Retry().
			WithHint("the program gave or took no byte for the whole stall timeout: look for locks and an overloaded server")
	case errors.Is(err, tool.ErrClosed):
		return wire.Failf(wire.CodeInterrupted, "%s: %w", what, err).Retry()
	case !errors.As(err, &exit):
		return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry()
	}
	log := exit.Log
	has := func(texts ...string) bool {
		for _, text := range texts {
			if strings.Contains(log, text) {
				return true
			}
		}
		return false
	}
	switch {
	case has("password authentication failed", "no password supplied", "no pg_hba.conf entry", "authentication failed for user"):
		return wire.Failf(wire.CodeAuth, "%s: %w", what, err).WithHint("check user, password and pg_hba.conf of the instance %q", e.cfg.Name)
	case has("SSL error", "root certificate file", "server certificate for", "server does not support SSL"):
		return wire.Failf(wire.CodeTLS, "%s: %w", what, err)
	case has("FATAL:  database ") && has("does not exist"):
		return e.missing(database, err)
	case has("lock timeout"), has("statement timeout") && has("LOCK TABLE"): // how pg_dump limits its wait
		return e.lockTimeout(database, err)
	case has("server version mismatch"):
		return wire.Failf(wire.CodeToolTooOld, "%s: %w", what, err)
	case has("No space left on device", "could not extend file"):
		return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err)
	case has("permission denied", "row-level security", "row security", "must be superuser", "must be owner", "must be a superuser", "must be member of"):
		return wire.Failf(wire.CodePrivilege, "%s: %w", what, err).WithHint("%s", e.grantHint(log))
	case exit.Signal != 0:
		return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry().
			WithHint("somebody, or the kernel for lack of memory, ended it")
	}
	return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry()
}
