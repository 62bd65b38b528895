package main_test

import (
	"os/exec"
	"strings"
	"testing"
)

func TestSetup(t *testing.T) {
	for _, c := range []struct {
		args   string
		status int
		says   string
	}{
		{"--print postgresql --passwords", 0, `GRANT pg_read_all_data TO "devflow_backup";`},
		{"--print mariadb --in-place --database my_shop", 0, "GRANT ALL PRIVILEGES ON `my\\_shop`.* TO 'devflow_swap'@'localhost';"},
		{"--print mysql", 0, "WITH auth_socket"},
		{"--print sqlite --sqlite /srv/app/one.sqlite --group app", 0, "chgrp 'app' '/srv/app'"},
		{"--print oracle", 2, "mysql, postgresql, sqlite"},
		{"--output xml", 2, "text, json"},
		{"--database shop", 2, "--in-place"},
	} {
		t.Run(c.args, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), binary, append([]string{"setup", "--config", "/not-there/agent.yaml"}, strings.Fields(c.args)...)...) //nolint:gosec // the agent
			out, _ := cmd.CombinedOutput()
			if cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != c.status || !strings.Contains(string(out), c.says) {
				t.Errorf("%v: %s", cmd.ProcessState, out)
			}
		})
	}
}
