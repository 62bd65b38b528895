package mysql

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"

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
func (e *Engine) connectFailure(ctx context.Context, err error, who account) *wire.Failure {
	what := fmt.Sprintf("connect to %s as %q", e.address(), who.user)
	if f := stopped(ctx, what); f != nil {
		return f
	}
	err = e.scrub(err)
	if answer := (*driver.MySQLError)(nil); errors.As(err, &answer) {
		return e.sqlFailure(ctx, err, what, "")
	}
	var (
		verify   *tls.CertificateVerificationError
		host     x509.HostnameError
		unknown  x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		alert    tls.AlertError
		noRecord tls.RecordHeaderError
	)
	if errors.As(err, &verify) || errors.As(err, &host) || errors.As(err, &unknown) || errors.As(err, &invalid) || errors.As(err, &alert) ||
		errors.As(err, &noRecord) || errors.Is(err, driver.ErrNoTLS) {
		return wire.Failf(wire.CodeTLS, "%s: %w", what, err).
			WithHint("sslmode is %s and the authorities are those of %q: use the name that is in the server's certificate and the authority that signed it", e.cfg.SSLMode, e.cfg.SSLRootCert)
	}
	return wire.Failf(wire.CodeDatabaseDown, "%s: %w", what, err).Retry().WithHint("is the server running and listening there?")
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
	answer := (*driver.MySQLError)(nil)
	if !errors.As(err, &answer) {
		return wire.Failf(wire.CodeDatabaseDown, "%s: %w", what, err).Retry()
	}
	return e.coded(int(answer.Number), err, what, database)
}

// coded maps an error number of the server or the client library.
func (e *Engine) coded(number int, err error, what, database string) *wire.Failure {
	text := err.Error()
	switch number {
	case 1045, 1130, 1251, 1524, 1698, 1820, 1862, 2049, 2058, 2059, 2061, 3118, 4151:
		return wire.Failf(wire.CodeAuth, "%s: %w", what, err).
			WithHint("check user and password of the instance %q in the agent's configuration, and from which hosts the account may log in", e.cfg.Name)
	case 1049:
		return e.missing(database, err)
	case 1007:
		return wire.Failf(wire.CodeTargetExists, "%s: %w", what, err)
	case 1044, 1095, 1142, 1143, 1227, 1370, 1410, 1419, 1445:
		return wire.Failf(wire.CodePrivilege, "%s: %w", what, err).WithHint("%s", e.grantHint(number, text, database))
	case 1290, 1836, 3100:
		return wire.Failf(wire.CodePrivilege, "%s: %w", what, err).WithHint("the server is read-only or runs with an option that forbids this")
	case 1205, 3572, 1969, 3024:
		return e.lockTimeout(database, err)
	case 1021, 1114, 1030, 3:
		if number != 1030 || strings.Contains(text, "28") {
			return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err)
		}
	case 2026:
		return wire.Failf(wire.CodeTLS, "%s: %w", what, err).WithHint("look at sslmode and ssl_root_cert of the instance %q", e.cfg.Name)
	case 1040, 1203, 1226, 2002, 2003, 2005:
		return wire.Failf(wire.CodeDatabaseDown, "%s: %w", what, err).Retry().WithHint("is the server running, and are connections left?")
	case 1153, 2020:
		return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).
			WithHint("a row is larger than the server takes: run SET GLOBAL max_allowed_packet = 1073741824, and set it in the server's configuration")
	case 1356:
		return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).WithHint("drop the view, or mend what it refers to")
	}
	return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry()
}

func (e *Engine) missing(database string, err error) *wire.Failure {
	return wire.Failf(wire.CodeDatabaseMissing, "there is no %s: %w", e.where(database), err).WithHint("was it dropped or renamed?")
}

func (e *Engine) lockTimeout(database string, err error) *wire.Failure {
	return wire.Failf(wire.CodeLockTimeout, "a table of %s was locked for more than %s: %w", e.where(database), e.cfg.LockTimeout, err).
		Retry().WithHint("something alters a table: run the backup when it is done")
}

// grantHint says how an account gets the right that it lacks.
func (e *Engine) grantHint(number int, text, database string) string {
	on, account := "*", "the account"
	if database != "" {
		on = quotePattern(database)
	}
	switch {
	case number == 1419:
		return "the server writes a binary log and distrusts routines: run SET GLOBAL log_bin_trust_function_creators = ON, and set it in the server's configuration"
	case number == 1370:
		return "a view uses a function, which the program has to run to describe the view: run " + grant([]string{"EXECUTE"}, on, account)
	case number == 1227 && strings.Contains(text, "SET"):
		return "only an account that may set any definer can keep definers: set restore.definers to strip"
	case staging(database):
		return e.restoreGrants()
	}
	return "run " + grant(dumpPrivileges, on, account)
}

// What the programs say: "Got error: 1045: …", "Error 2013: …", "ERROR 1064 (42000) at line 3: …", "… (1142)".
var numberPatterns = []*regexp.Regexp{
	regexp.MustCompile(`Got error: (\d{4,5}):`),
	regexp.MustCompile(`(?m)^ERROR (\d{1,5}) \(`),
	regexp.MustCompile(`Error (\d{4,5}):`),
	regexp.MustCompile(`(?m)\((\d{4,5})\)\s*$`),
}

// errorNumber is the first error that a program tells of, 0 if there is none.
func errorNumber(log string) int {
	for _, pattern := range numberPatterns {
		if m := pattern.FindStringSubmatch(log); m != nil {
			n, _ := strconv.Atoi(m[1])
			return n
		}
	}
	return 0
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
	number := errorNumber(exit.Log)
	switch {
	case exit.Signal != 0:
		return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry().WithHint("somebody, or the kernel for lack of memory, ended it")
	case strings.Contains(exit.Log, "No space left on device"):
		return wire.Failf(wire.CodeDiskFull, "%s: %w", what, err)
	case number == 1045 && strings.Contains(exit.Log, "at line"):
		// How the server refuses files to an account.
		return wire.Failf(wire.CodePrivilege, "%s: %w", what, err)
	case strings.Contains(exit.Log, "privileges to SHOW CREATE"):
		return wire.Failf(wire.CodePrivilege, "%s: %w", what, err).WithHint("%s", e.grantHint(0, "", database))
	case number != 0:
		return e.coded(number, err, what, database)
	}
	return wire.Failf(wire.CodeToolFailed, "%s: %w", what, err).Retry()
}
