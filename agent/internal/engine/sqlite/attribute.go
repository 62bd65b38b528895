package sqlite

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"devflowbackup/shared/wire"
)

const accessList = "system.posix_acl_access"

// carry gives a file the owner, group, permissions, access list and other extended attributes of another. The notes name what
// was not carried over and does not keep programs from the file.
func carry(from, to *os.File) (notes []string, err error) {
	what := fmt.Sprintf("give %q the attributes of %q", to.Name(), from.Name())
	var want, have unix.Stat_t
	if err := errors.Join(unix.Fstat(int(from.Fd()), &want), unix.Fstat(int(to.Fd()), &have)); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if want.Uid != have.Uid || want.Gid != have.Gid {
		if err := unix.Fchown(int(to.Fd()), int(want.Uid), int(want.Gid)); err != nil {
			return nil, wire.Failf(wire.CodePrivilege, "give the new file to the owner %d and the group %d: %w", want.Uid, want.Gid, err).
				WithHint("run the agent as root, or as the owner of the database")
		}
	}
	if err := unix.Fchmod(int(to.Fd()), want.Mode&0o777); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	names, err := attributes(from)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	old, err := attributes(to)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if slices.Contains(old, accessList) && !slices.Contains(names, accessList) {
		if err := unix.Fremovexattr(int(to.Fd()), accessList); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	for _, name := range names {
		err := copyAttribute(from, to, name)
		switch {
		case err == nil:
		case name == accessList:
			return nil, fmt.Errorf("%s: %w", what, err)
		default:
			notes = append(notes, fmt.Sprintf("the attribute %q of the old file was not carried over: %v", name, err))
		}
	}
	return notes, nil
}

// attributes lists the names of those that belong to the file and not to its content.
func attributes(f *os.File) ([]string, error) {
	list, err := sized(func(b []byte) (int, error) { return unix.Flistxattr(int(f.Fd()), b) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	names := strings.Split(strings.TrimSuffix(string(list), "\x00"), "\x00")
	return slices.DeleteFunc(names, func(name string) bool {
		return name == "" || slices.Contains([]string{"security.ima", "security.evm", "security.capability"}, name)
	}), nil
}

func copyAttribute(from, to *os.File, name string) error {
	want, err := sized(func(b []byte) (int, error) { return unix.Fgetxattr(int(from.Fd()), name, b) })
	if err != nil {
		return err
	}
	have, err := sized(func(b []byte) (int, error) { return unix.Fgetxattr(int(to.Fd()), name, b) })
	if err == nil && bytes.Equal(have, want) {
		return nil
	}
	return unix.Fsetxattr(int(to.Fd()), name, want, 0)
}

// sized reads what is at most as large as an extended attribute may be.
func sized(read func([]byte) (int, error)) ([]byte, error) {
	const most = 64 << 10
	b := make([]byte, most)
	n, err := read(b)
	if err != nil {
		return nil, err
	}
	return b[:n], nil
}
