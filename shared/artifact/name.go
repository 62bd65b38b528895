package artifact

import (
	"crypto/rand"
	"encoding/base32"
	"strings"
	"time"
)

const (
	attemptIDLen  = 16
	maxNameLen    = 100
	attemptDigits = "abcdefghijklmnopqrstuvwxyz234567"
)

// NewAttemptID draws 80 random bits, as 16 characters of lower-case base32. It is unique without asking anyone.
func NewAttemptID() string {
	var bits [10]byte
	rand.Read(bits[:]) // never fails: it ends the program instead
	return strings.ToLower(base32.StdEncoding.EncodeToString(bits[:]))
}

// ValidAttemptID reports whether id has the form that NewAttemptID gives.
func ValidAttemptID(id string) bool {
	if len(id) != attemptIDLen {
		return false
	}
	for _, c := range []byte(id) {
		if strings.IndexByte(attemptDigits, c) < 0 {
			return false
		}
	}
	return true
}

// FileName returns <database>_<YYYY-MM-DD_HHMMSS>_<attempt id>.<ext> with the codec's suffix, in UTC. Whatever the
// arguments hold, the result has only the characters A-Z a-z 0-9 . _ and -, does not begin with a dot or dash and has
// no two dots in a row. Names may collide after that: the attempt id keeps files apart, the manifest holds the real name.
func FileName(database string, at time.Time, attemptID, ext string, c Codec) string {
	return safeName(database, "database") + "_" + at.UTC().Format("2006-01-02_150405") + "_" +
		safeName(attemptID, "attempt") + "." + safeName(ext, "dump") + c.Suffix()
}

// Folder returns what all keys of a storage begin with: <prefix>/backups/. Empty, "." and ".." segments of the prefix are
// dropped.
func Folder(prefix string) string {
	var b strings.Builder
	for segment := range strings.SplitSeq(prefix, "/") {
		if segment != "" && segment != "." && segment != ".." {
			b.WriteString(segment)
			b.WriteByte('/')
		}
	}
	b.WriteString("backups/")
	return b.String()
}

// Key returns where the file lies in a storage: <prefix>/backups/YYYY/MM/DD/<file>, in UTC, below Folder.
func Key(prefix string, at time.Time, fileName string) string {
	return Folder(prefix) + at.UTC().Format("2006/01/02/") + fileName
}

// FingerprintKey returns the key of an artifact's fingerprint object, which goes through the same codec.
func FingerprintKey(key string, c Codec) string { return key + ".fingerprint.json" + c.Suffix() }

// GlobalsKey returns the key of an artifact's roles and settings, which go through the same codec.
func GlobalsKey(key string, c Codec) string { return key + ".globals.sql" + c.Suffix() }

// ManifestKey returns the key of an artifact's manifest, which is plain JSON.
func ManifestKey(key string) string { return key + ".manifest.json" }

// safeName keeps what is safe in every file system, shell and URL; each other character becomes an underscore.
func safeName(s, ifEmpty string) string {
	var b strings.Builder
	for _, c := range s {
		if b.Len() == maxNameLen {
			break
		}
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_':
		case c == '-' && b.Len() > 0:
		case c == '.' && b.Len() > 0 && b.String()[b.Len()-1] != '.':
		default:
			c = '_'
		}
		b.WriteRune(c)
	}
	if b.Len() == 0 {
		return ifEmpty
	}
	if name := b.String(); name[len(name)-1] == '.' { // a suffix follows with its own dot
		return name[:len(name)-1] + "_"
	}
	return b.String()
}
