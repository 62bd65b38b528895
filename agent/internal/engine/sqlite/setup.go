package sqlite

import (
	"fmt"
	"path/filepath"
	"strings"

	"devflowbackup/agent/internal/engine"
)

// dropIn is the file that changes the agent's unit.
const dropIn = "/etc/systemd/system/devflow-agent.service.d/sqlite.conf"

const defaultAccount, defaultPath, defaultGroup = "devflow-agent", "/srv/app/database", "www-data"

func quoteShell(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// Setup is the script for database files that the programs of one group use. A path is taken for a directory if its last part has no dot.
func Setup(r engine.SetupRequest) engine.Script {
	if r.Account == "" {
		r.Account = defaultAccount
	}
	if r.Group == "" {
		r.Group = defaultGroup
	}
	if len(r.Paths) == 0 {
		r.Paths = []string{defaultPath}
	}
	s := engine.Script{
		Comment: "#",
		Title: "Rights of the backup agent at SQLite files. root runs this: sh FILE\n" +
			"It may be run again. Lines that are remarks are done where they apply.",
	}
	section := ""
	add := func(why, do string) {
		s.Steps = append(s.Steps, engine.Step{Kind: engine.StepShell, For: section, Why: why, Do: do})
	}
	section = "Backups, and restores as new files"
	var directories []string
	file := func(path string) bool { return filepath.Ext(path) != "" }
	for _, path := range r.Paths {
		if file(path) {
			path = filepath.Dir(path)
		}
		directories = append(directories, path)
	}
	add("The group of the programs that use the files.", fmt.Sprintf("usermod --append --groups %s %s", quoteShell(r.Group), quoteShell(r.Account)))
	for i, path := range r.Paths {
		dir := quoteShell(directories[i])
		add("SQLite keeps its journal beside the file: whoever reads a database that is in use writes there, too. What is made there belongs to the group.",
			fmt.Sprintf("chgrp %s %s && chmod g+rwxs %s", quoteShell(r.Group), dir, dir))
		what := dir + " -maxdepth 4 -type f"
		if file(path) {
			what = quoteShell(path) + " -maxdepth 0 -type f"
		}
		add("The files themselves.", fmt.Sprintf("find %s -exec chgrp %s {} + -exec chmod g+rw {} +", what, quoteShell(r.Group)))
	}
	add("The service's sandbox lets it write there.", fmt.Sprintf("mkdir -p %s && printf '[Service]\\nReadWritePaths=%%s\\n' %s > %s && systemctl daemon-reload",
		filepath.Dir(dropIn), quoteShell(strings.Join(directories, " ")), dropIn))
	if !r.InPlace {
		return s
	}
	section = "Restores in place"
	for i, path := range r.Paths {
		what := quoteShell(directories[i]) + " -maxdepth 4 -type f"
		if file(path) {
			what = quoteShell(path) + " -maxdepth 0 -type f"
		}
		add("A new file can be given the owner of the one that it replaces by that owner alone: the agent. The programs use it through the group.",
			fmt.Sprintf("find %s -exec chown %s {} + -exec chmod g+rw {} +", what, quoteShell(r.Account)))
	}
	return s
}
