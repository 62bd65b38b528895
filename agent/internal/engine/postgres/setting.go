package postgres

import (
	"errors"
	"regexp"
	"strings"

	"devflowbackup/agent/internal/engine/tool"
)

// A pg_restore since this version begins with a setting that no older server knows, whatever the dump needs. It must not
// end at its first error then; it goes on past all of them and counts them.
const settingMajor = 17

// refusedSetting is how pg_restore ends what it says of the refusal, in any language of the server.
const refusedSetting = "Command was: SET transaction_timeout = 0;\n"

var oneIgnored = regexp.MustCompile(`(^|\n)pg_restore: warning: errors ignored on restore: 1\s*$`)

// refusesSetting tells whether a server refuses what a pg_restore begins with.
func refusesSetting(program, server int) bool {
	return program >= settingMajor && server < settingMajor
}

// withoutSetting takes the refusal of the setting out of what pg_restore ended with: nothing is left if there was no
// other error. The refusal is certain, so one error counted is this one, and only an end in good order is counted.
func withoutSetting(err error) error {
	var exit *tool.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	_, rest, found := strings.Cut(exit.Log, refusedSetting)
	switch {
	case !found:
		return err
	case exit.Status == 1 && oneIgnored.MatchString(rest):
		return nil
	}
	other := *exit
	other.Log = rest
	return &other
}
