package check

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"

	"devflowbackup/agent/internal/config"
	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/localstore"
	"devflowbackup/shared/wire"
)

// local looks at the backup directory, if one is configured. It makes and writes nothing.
func local(cfg config.Config) []engine.Finding {
	l := cfg.Storage.Local
	if l.Dir == "" {
		return nil
	}
	var out []engine.Finding
	add := func(level, name, detail, hint string) {
		out = append(out, engine.Finding{Level: level, Name: name, Detail: detail, Hint: hint})
	}
	info, err := os.Stat(l.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		add(Warning, "directory", l.Dir+" is not there", "the agent makes it when it starts; if it is to be a disk of its own, mount that first")
		return out
	}
	if err != nil {
		add(Error, "directory", err.Error(), "storage.local.dir must be a directory that the agent's user can open")
		return out
	}
	usage := localstore.New(localstore.Options{Dir: l.Dir, MinFree: int64(l.MinFree)}).Usage()
	switch perm := info.Mode().Perm(); {
	case usage.Error != "":
		add(Error, "directory", usage.Error, "")
		return out
	case perm&0o077 != 0:
		add(Warning, "directory", fmt.Sprintf("%s can be read by other users (mode %04o)", l.Dir, perm), "run `chmod 700 "+l.Dir+"`")
	default:
		add(OK, "directory", fmt.Sprintf("%s, mode %04o", l.Dir, perm), "")
	}
	free := fmt.Sprintf("%d of %d MiB are free, %s are to stay so", usage.FreeBytes>>20, usage.TotalBytes>>20, l.MinFree)
	if usage.FreeBytes <= usage.MinFree {
		add(Error, "free space", free, "free space there, or lower storage.local.min_free: as it is every backup fails")
	} else {
		add(OK, "free space", free, "")
	}
	detail := "same host as the databases: who loses the host loses the backups too"
	if names := sameDisk(info, cfg.Instances); len(names) > 0 {
		detail = "same host and same disk as " + strings.Join(names, ", ") + ": who loses the disk loses the backups too"
	}
	add(Warning, "place", detail, "keep backups in an object store as well, or have this directory on another machine's disk")
	return out
}

// sameDisk names the instances whose data lies, as far as can be seen, in the same file system.
func sameDisk(dir os.FileInfo, instances []config.Instance) []string {
	var names []string
	for _, in := range instances {
		if slices.ContainsFunc(dataPaths(in), func(path string) bool {
			info, err := os.Stat(path)
			return err == nil && device(info) == device(dir)
		}) {
			names = append(names, "instance "+in.Name)
		}
	}
	return names
}

// dataPaths is where the data of an instance lies: as configured for files, by custom for a server on this host.
func dataPaths(in config.Instance) []string {
	if in.Host != "" && in.Host != "localhost" && in.Host != "::1" && !strings.HasPrefix(in.Host, "127.") && !strings.HasPrefix(in.Host, "/") {
		return nil
	}
	switch in.Engine {
	case wire.EngineSQLite:
		return in.Paths
	case wire.EnginePostgreSQL:
		return []string{"/var/lib/postgresql", "/var/lib/pgsql"}
	case wire.EngineMySQL:
		return []string{"/var/lib/mysql"}
	}
	return nil
}

func device(info os.FileInfo) uint64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return uint64(st.Dev) //nolint:unconvert // the type differs between platforms
	}
	return 0
}
