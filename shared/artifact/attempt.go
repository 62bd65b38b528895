package artifact

import (
	"fmt"
	"path"
	"strings"
)

// AttemptIDOf returns the attempt id in an artifact's file name or key, as FileName put it there: aes-256-cbc keys are derived
// with it. The names of side objects and manifests have it too.
func AttemptIDOf(key string) (string, error) {
	name := path.Base(key)
	// <database>_<date>_<time>_<attempt id>.<ext>…: neither the id nor what follows has an underscore.
	id, _, ok := strings.Cut(name[strings.LastIndexByte(name, '_')+1:], ".")
	if !ok || !ValidAttemptID(id) {
		return "", fmt.Errorf("%q has no attempt id: want <database>_<date>_<time>_<attempt id>.<ext>", name)
	}
	return id, nil
}
