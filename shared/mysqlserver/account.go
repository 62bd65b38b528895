package mysqlserver

import (
	"fmt"
	"os"

	"devflowbackup/shared/dbprocess"
)

// serverAccount returns ourselves, or, for root, the user mysql or nobody: the server does not run as root.
func serverAccount() (dbprocess.Account, error) {
	if os.Geteuid() != 0 {
		return dbprocess.Ourselves(), nil
	}
	a, err := dbprocess.Lookup("mysql", "nobody")
	if err != nil {
		err = fmt.Errorf("find a user for the server, which does not run as root: %w", err)
	}
	return a, err
}
