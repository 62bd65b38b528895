package pgserver

import (
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"devflowbackup/shared/dbprocess"
)

// serverAccount returns ourselves, or, for root, the owner of the data directory if there is one, else postgres or nobody:
// PostgreSQL refuses to run as root.
func serverAccount(data string) (dbprocess.Account, error) {
	if os.Geteuid() != 0 {
		return dbprocess.Ourselves(), nil
	}
	names := []string{"postgres", "nobody"}
	if info, err := os.Stat(data); err == nil {
		owner, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return dbprocess.Account{}, fmt.Errorf("use data directory %s: its owner is not known", data)
		}
		if owner.Uid == 0 {
			return dbprocess.Account{}, fmt.Errorf("use data directory %s: it belongs to root, PostgreSQL does not run as root: run `chown -R postgres %s`", data, data)
		}
		found, err := user.LookupId(strconv.Itoa(int(owner.Uid)))
		if err != nil { // an owner without a name is one all the same
			return dbprocess.Account{Name: "uid " + strconv.Itoa(int(owner.Uid)), UID: owner.Uid, GID: owner.Gid, Change: true}, nil //nolint:nilerr // as above
		}
		names = []string{found.Username}
	}
	a, err := dbprocess.Lookup(names...)
	if err != nil {
		err = fmt.Errorf("find a user for PostgreSQL, which does not run as root: %w", err)
	}
	return a, err
}
