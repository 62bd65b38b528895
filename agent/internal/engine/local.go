package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/user"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/secret"
)

// Places are where servers of this host are looked for.
type Places struct {
	Sockets     []string // directories that sockets lie in, or sockets, as the engine has them
	OptionFiles []string // patterns of files that name sockets
}

// Local is a server that was found on this host.
type Local struct {
	Name    string // what an instance of it may be called
	Host    string // of the instance
	Port    int    // 0: the engine has none at a socket
	Socket  string // where it was found
	Version string // as far as it tells a stranger: "PostgreSQL 15"
	MariaDB bool
	Account string // of the operating system, that the server runs as
}

// Mention is something that was found, and is for a person to look at.
type Mention struct{ Text string }

// GrantRequest is a script for a server of this host.
type GrantRequest struct {
	Local  Local
	Script Script
	// Passwords of those accounts that the script makes with one, by name.
	Passwords map[string]secret.String
}

// Peer tells who listens at a socket.
type Peer struct {
	PID     int
	Account string
}

const dialTimeout = 5 * time.Second

// Dial connects to a socket and tells who listens there. The caller closes the connection.
func Dial(ctx context.Context, socket string) (net.Conn, Peer, error) {
	d := net.Dialer{Timeout: dialTimeout}
	conn, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, Peer{}, fmt.Errorf("connect to socket: %w", err)
	}
	var cred *unix.Ucred
	one, ok := conn.(syscall.Conn)
	if !ok {
		_ = conn.Close()
		return nil, Peer{}, fmt.Errorf("look at %s: %w", socket, errors.ErrUnsupported)
	}
	raw, err := one.SyscallConn()
	if err == nil {
		err = errors.Join(raw.Control(func(fd uintptr) {
			cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		}), err)
	}
	if err != nil {
		_ = conn.Close()
		return nil, Peer{}, fmt.Errorf("look at %s: %w", socket, err)
	}
	p := Peer{PID: int(cred.Pid), Account: strconv.Itoa(int(cred.Uid))}
	if u, err := user.LookupId(p.Account); err == nil {
		p.Account = u.Username
	}
	if err := conn.SetDeadline(time.Now().Add(dialTimeout)); err != nil {
		_ = conn.Close()
		return nil, Peer{}, fmt.Errorf("look at %s: %w", socket, err)
	}
	return conn, p, nil
}
