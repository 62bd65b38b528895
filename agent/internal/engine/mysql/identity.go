package mysql

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
)

// The server gives a database no number. Its identity is the server's, its name's, and the numbers that InnoDB gave to some of its
// tables, the oldest: a table keeps its number when it is renamed, and no number is given twice. Two identities are of the same
// database if they share one of the numbers: so tables may be altered, made and dropped. Databases without such tables are told
// apart by server and name alone, and so are all if no account may see the numbers (PROCESS).
const (
	identityTables = 8
	unknownTables  = "?"
)

// identity is that of an existing database. The first of the connections that may see the numbers is asked.
func (e *Engine) identity(ctx context.Context, database string, conns ...*conn) (string, error) {
	info, err := conns[0].identify(ctx)
	if err != nil {
		return "", err
	}
	numbers := unknownTables
	for _, c := range conns {
		found, err := c.tableNumbers(ctx, database)
		if refused(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		numbers = strings.Join(found, ".")
		break
	}
	name := sha256.Sum256([]byte(database))
	text := info.Identity + "/" + hex.EncodeToString(name[:8]) + "/" + numbers
	return text + "/" + identitySum(text), nil
}

func identitySum(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}

func sameIdentity(a, b string) bool {
	if a == b {
		return a != ""
	}
	split := func(identity string) (place string, numbers []string, ok bool) {
		text, sum, ok := cutLast(identity)
		if !ok || sum != identitySum(text) {
			return "", nil, false
		}
		place, list, ok := cutLast(text)
		return place, strings.Split(list, "."), ok
	}
	placeA, numbersA, okA := split(a)
	placeB, numbersB, okB := split(b)
	return okA && okB && placeA == placeB && slices.ContainsFunc(numbersA, func(n string) bool { return n != "" && slices.Contains(numbersB, n) })
}

func cutLast(s string) (before, after string, ok bool) {
	at := strings.LastIndexByte(s, '/')
	if at < 0 {
		return "", "", false
	}
	return s[:at], s[at+1:], true
}

// tableNumbers are those of the oldest tables of a database.
func (c *conn) tableNumbers(ctx context.Context, database string) ([]string, error) {
	catalog, directory := "INNODB_TABLES", directoryName(database)
	switch {
	case c.server.flavour == flavourMariaDB:
		catalog = "INNODB_SYS_TABLES"
		var encoded string
		if err := c.one(ctx, "SELECT HEX(CONVERT(? USING filename))", []any{database}, &encoded); err != nil {
			return nil, err
		}
		text, err := hex.DecodeString(encoded)
		if err != nil {
			return nil, fmt.Errorf("read the directory of %q: %w", database, err)
		}
		directory = string(text)
	case directory == "":
		// When they were made stays, too, but is known to the second only.
		return c.strings(ctx, "SELECT CONCAT('t', UNIX_TIMESTAMP(CREATE_TIME), '_', CRC32(TABLE_NAME)) FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND "+
			same("TABLE_SCHEMA")+fmt.Sprintf(" ORDER BY CREATE_TIME, TABLE_NAME LIMIT %d", identityTables), database, database)
	}
	prefix := directory + "/"
	return c.strings(ctx, fmt.Sprintf("SELECT TABLE_ID FROM information_schema.%s WHERE LEFT(CONVERT(NAME USING utf8mb4) COLLATE utf8mb4_bin, %d) = ? ORDER BY TABLE_ID LIMIT %d",
		catalog, len(prefix), identityTables), prefix)
}

// directoryName is a name as MySQL writes it in files, empty where only the server knows.
func directoryName(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z':
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, "@%04x", r)
		default:
			return ""
		}
	}
	return b.String()
}
