package localstore

import (
	"regexp"
	"strings"

	"devflowbackup/shared/wire"
)

const (
	// partial ends the name of a file that is not whole.
	partial = ".partial"
	// ManifestSuffix ends the only names that WriteFile takes.
	ManifestSuffix = ".manifest.json"

	maxKey  = 1024
	maxName = 255 - len(partial)
)

// keyForm is what artifact.Key makes of a prefix in the safe alphabet.
var keyForm = regexp.MustCompile(`^(?:[A-Za-z0-9_][A-Za-z0-9._-]*/)*backups/[0-9]{4}/[0-9]{2}/[0-9]{2}/[A-Za-z0-9_][A-Za-z0-9._-]*$`)

// CheckKey refuses every key that is not of the form of artifact.Key, in the characters A-Z a-z 0-9 . _ and -. Nothing
// else in the directory, or outside of it, can be named.
func CheckKey(key string) error {
	name := key[strings.LastIndexByte(key, '/')+1:]
	if len(key) > maxKey || len(name) > maxName || !keyForm.MatchString(key) || strings.HasSuffix(name, partial) {
		return wire.Failf(wire.CodeBadRequest, "%.200q is not the key of a backup: it is <prefix>/backups/YYYY/MM/DD/<file> in the characters A-Z a-z 0-9 . _ and -", key)
	}
	return nil
}
