package dbprocess

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
)

// Account is the operating system user that a server runs as.
type Account struct {
	Name     string
	UID, GID uint32
	Change   bool // we are root and become this user
}

// Ourselves is the account of this process, which becomes nobody else.
func Ourselves() Account {
	uid := os.Geteuid()
	return Account{Name: "uid " + strconv.Itoa(uid), UID: uint32(uid), GID: uint32(os.Getegid())}
}

// Lookup returns the first of these users that there is, to be become by root.
func Lookup(names ...string) (Account, error) {
	var failed []error
	for _, name := range names {
		found, err := user.Lookup(name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return Account{}, fmt.Errorf("look up user %s: %w", name, err)
		}
		return Account{Name: name, UID: uint32(uid), GID: uint32(gid), Change: true}, nil
	}
	return Account{}, errors.Join(failed...)
}

// For is the account of the server of a data directory: ourselves, or, for root, the owner of the directory if there is one, else
// the first of these users that there is. A server does not run as root.
func For(data string, names ...string) (Account, error) {
	if os.Geteuid() != 0 {
		return Ourselves(), nil
	}
	if info, err := os.Stat(data); err == nil {
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return Account{}, fmt.Errorf("use data directory %s: its owner is not known", data)
		}
		if owner.Uid == 0 {
			return Account{}, fmt.Errorf("use data directory %s: it belongs to root, the server does not run as root: run `chown -R %s %s`", data, names[0], data)
		}
		found, err := user.LookupId(strconv.Itoa(int(owner.Uid)))
		if err != nil { // an owner without a name is one all the same
			return Account{Name: "uid " + strconv.Itoa(int(owner.Uid)), UID: owner.Uid, GID: owner.Gid, Change: true}, nil //nolint:nilerr // as above
		}
		names = []string{found.Username}
	}
	a, err := Lookup(names...)
	if err != nil {
		err = fmt.Errorf("find a user for the server, which does not run as root: %w", err)
	}
	return a, err
}

// Own gives a file or directory to the account.
func (a Account) Own(path string) error {
	if !a.Change {
		return nil
	}
	return os.Chown(path, int(a.UID), int(a.GID))
}

// Reach checks that the account can go through every directory from the root to dir.
func (a Account) Reach(dir string) error {
	if !a.Change {
		return nil
	}
	var parents []string
	for p := dir; ; p = filepath.Dir(p) {
		parents = append(parents, p)
		if p == filepath.Dir(p) {
			break
		}
	}
	slices.Reverse(parents)
	for _, p := range parents {
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("check directory: %w", err)
		}
		mode := info.Mode().Perm()
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("check directory %s: its owner is not known", p)
		}
		open := mode&0o001 != 0
		switch {
		case owner.Uid == a.UID:
			open = mode&0o100 != 0
		case owner.Gid == a.GID:
			open = mode&0o010 != 0
		}
		if !open {
			return fmt.Errorf("use %s: directory %s (mode %04o) is closed to user %s, which the server runs as: "+
				"run `chmod o+x %s`, or use a directory elsewhere, for example under /var/lib", dir, p, mode, a.Name, p)
		}
	}
	return nil
}

// Credential is what a command needs to run as the account, nil for ourselves.
func (a Account) Credential() *syscall.Credential {
	if !a.Change {
		return nil
	}
	return &syscall.Credential{Uid: a.UID, Gid: a.GID}
}
