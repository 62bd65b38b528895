package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"

	"devflowbackup/shared/wire"
)

var idPattern = regexp.MustCompile(`^[0-9a-f]{32}$`)

// makeDataDir makes the data directory. The private PostgreSQL runs as a user of its own and must get through to its directory; what
// is secret beside it has mode 0600.
func makeDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // as above
		return fmt.Errorf("data directory: %w", err)
	}
	return nil
}

// takeDataDir locks the data directory for this process and returns the id of the controller that lives there. The id stays the
// same over restarts: a controller that was killed comes back as itself, and is not mistaken for a second one that is still up.
func takeDataDir(dir string) (id string, lock *os.File, err error) {
	if err := makeDataDir(dir); err != nil {
		return "", nil, err
	}
	if lock, err = os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return "", nil, fmt.Errorf("lock data directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, lock.Close())
		}
	}()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return "", lock, fmt.Errorf("data directory %s is in use by another controller: stop it, or give this one a directory of its own by data_dir", dir)
		}
		return "", lock, fmt.Errorf("lock data directory: %w", err)
	}
	path := filepath.Join(dir, "controller.id")
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		id = wire.NewID()
		if err := writeFile(path, id+"\n", 0o644); err != nil {
			return "", lock, fmt.Errorf("write the controller's id: %w", err)
		}
		return id, lock, nil
	case err != nil:
		return "", lock, fmt.Errorf("read the controller's id: %w", err)
	}
	if id = strings.TrimSpace(string(b)); !idPattern.MatchString(id) {
		return "", lock, fmt.Errorf("%s does not hold a controller's id: remove it, and a new one is made", path)
	}
	return id, lock, nil
}
