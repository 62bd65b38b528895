package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"devflowbackup/shared/wire"
)

// Writes are the directories outside the state directory that the agent writes to: that of local backups, those of SQLite
// databases, which get a journal beside them, and those of their copies. Of a pattern it is what is before it.
func (c Config) Writes() []string {
	var all []string
	add := func(dir string) {
		if dir != "" && dir != "/" && dir != c.StateDir && !strings.HasPrefix(dir, c.StateDir+"/") && !slices.Contains(all, dir) {
			all = append(all, dir)
		}
	}
	add(c.Storage.Local.Dir)
	for _, in := range c.Instances {
		if in.Engine != wire.EngineSQLite {
			continue
		}
		add(in.SnapshotDir)
		for _, path := range in.Paths {
			i := strings.IndexAny(path, `*?[\`)
			switch {
			case i >= 0:
				path = filepath.Dir(path[:i] + "x")
			case isFile(path): // its journal lies beside it
				path = filepath.Dir(path)
			}
			add(path)
		}
	}
	return all
}

// isFile tells a file from a directory; of what is not there yet, by its name.
func isFile(path string) bool {
	if info, err := os.Stat(path); err == nil {
		return !info.IsDir()
	}
	return filepath.Ext(path) != ""
}
