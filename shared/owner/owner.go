// Package owner lets a program that root starts by hand act as the account that its directory belongs to, as its service does.
//
// Root never writes into a directory of another account: what it left there the service could not read, and that account could
// lead it to other files by links.
package owner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// Become gives the process the owner of dir for good, with that account's groups, if the process is root and dir belongs to
// somebody else. It does nothing if there is no such directory. What root alone can read is to be read before.
func Become(dir string) error {
	uid, gid, ok, err := of(dir)
	if err != nil || !ok {
		return err
	}
	groups := []int{gid}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		if groups, gid, err = groupsOf(u); err != nil {
			return fmt.Errorf("become %s, whose %s is: %w", u.Username, dir, err)
		}
	}
	for _, err := range []error{syscall.Setgroups(groups), syscall.Setgid(gid), syscall.Setuid(uid)} {
		if err != nil {
			return fmt.Errorf("become user %d, whose %s is: %w", uid, dir, err)
		}
	}
	return nil
}

// Grant makes dir, if it does not exist, and gives it to the owner of like: for what root lets a program write that is to
// Become that owner.
func Grant(dir, like string) error {
	uid, gid, ok, err := of(like)
	if err != nil || !ok {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil
		}
		return fmt.Errorf("make directory: %w", err)
	}
	if err := os.Lchown(dir, uid, gid); err != nil {
		return fmt.Errorf("give away directory: %w", err)
	}
	return nil
}

// of tells whom dir belongs to, if this process is root and that is somebody else.
func of(dir string) (uid, gid int, ok bool, err error) {
	if os.Geteuid() != 0 {
		return 0, 0, false, nil
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, fmt.Errorf("look at owner: %w", err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.IsDir() || st.Uid == 0 {
		return 0, 0, false, nil
	}
	return int(st.Uid), int(st.Gid), true, nil
}

func groupsOf(u *user.User) (all []int, first int, err error) {
	if first, err = strconv.Atoi(u.Gid); err != nil {
		return nil, 0, fmt.Errorf("group %q: %w", u.Gid, err)
	}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, 0, fmt.Errorf("look up groups: %w", err)
	}
	for _, id := range ids {
		n, err := strconv.Atoi(id)
		if err != nil {
			return nil, 0, fmt.Errorf("group %q: %w", id, err)
		}
		all = append(all, n)
	}
	return all, first, nil
}
