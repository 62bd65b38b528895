package mysqlserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating system user that the server runs as. The server does not run as root.
type account struct {
	name     string
	uid, gid uint32
	change   bool // we are root and become this user
}

// serverAccount returns ourselves, or, for root, the user mysql or nobody.
func serverAccount() (account, error) {
	if uid := os.Geteuid(); uid != 0 {
		return account{name: "uid " + strconv.Itoa(uid), uid: uint32(uid), gid: uint32(os.Getegid())}, nil
	}
	var failed []error
	for _, name := range []string{"mysql", "nobody"} {
		found, err := user.Lookup(name)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		uid, uidErr := strconv.ParseUint(found.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(found.Gid, 10, 32)
		if err := errors.Join(uidErr, gidErr); err != nil {
			return account{}, fmt.Errorf("look up user %s: %w", name, err)
		}
		return account{name: name, uid: uint32(uid), gid: uint32(gid), change: true}, nil
	}
	return account{}, fmt.Errorf("find a user for the server, which does not run as root: %w", errors.Join(failed...))
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
	for p := dir; p != filepath.Dir(p); p = filepath.Dir(p) {
		info, err := os.Stat(p)
		if err != nil {
			return fmt.Errorf("check directory: %w", err)
		}
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("check directory %s: its owner is not known", p)
		}
		mode := info.Mode().Perm()
		if open := mode&0o001 != 0 || owner.Uid == a.uid && mode&0o100 != 0 || owner.Gid == a.gid && mode&0o010 != 0; !open {
			return fmt.Errorf("use %s: directory %s (mode %04o) is closed to user %s, which the server runs as: "+
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
