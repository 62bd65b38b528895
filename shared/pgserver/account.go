package pgserver

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

// account is the operating system user that the server runs as. PostgreSQL refuses to run as root.
type account struct {
	name     string
	uid, gid uint32
	change   bool // we are root and become this user
}

// serverAccount returns ourselves, or, for root, the owner of the data directory if there is one, else postgres or nobody.
func serverAccount(data string) (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: "uid " + strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	names := []string{"postgres", "nobody"}
	if info, err := os.Stat(data); err == nil {
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return account{}, fmt.Errorf("use data directory %s: its owner is not known", data)
		}
		if owner.Uid == 0 {
			return account{}, fmt.Errorf("use data directory %s: it belongs to root, PostgreSQL does not run as root: run `chown -R postgres %s`", data, data)
		}
		found, err := user.LookupId(strconv.Itoa(int(owner.Uid)))
		if err != nil { // an owner without a name is one all the same
			return account{name: "uid " + strconv.Itoa(int(owner.Uid)), uid: owner.Uid, gid: owner.Gid, change: true}, nil //nolint:nilerr // as above
		}
		names = []string{found.Username}
	}
	var failed []error
	for _, name := range names {
		found, err := user.Lookup(name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		uid, err := strconv.ParseUint(found.Uid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("look up user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(found.Gid, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("look up user %s: %w", name, err)
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), change: true}, nil
	}
	return account{}, fmt.Errorf("find a user for PostgreSQL, which does not run as root: %w", errors.Join(failed...))
}

func (a account) own(path string) error {
	if !a.change {
		return nil
	}
	return os.Chown(path, int(a.uid), int(a.gid))
}

// reach checks that the account can go through every directory from the root to dir.
func (a account) reach(dir string) error {
	if !a.change {
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
		case owner.Uid == a.uid:
			open = mode&0o100 != 0
		case owner.Gid == a.gid:
			open = mode&0o010 != 0
		}
		if !open {
			return fmt.Errorf("use %s: directory %s (mode %04o) is closed to user %s, which PostgreSQL runs as: "+
				"run `chmod o+x %s`, or use a directory elsewhere, for example under /var/lib", dir, p, mode, a.name, p)
		}
	}
	return nil
}

func (a account) credential() *syscall.Credential {
	if !a.change {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid}
}
