package mysql_test

import (
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine"
	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/shared/mysqlserver"
	"devflowbackup/shared/wire"
)

const partDump = "/*!40101 SET NAMES utf8mb4 */;\n" +
	"DROP SEQUENCE IF EXISTS `sq`;\nCREATE SEQUENCE `sq` start with 1;\nDO SETVAL(`sq`, 1, 0);\n" +
	"DROP TABLE IF EXISTS `p`;\nCREATE TABLE `p` (\n  `id` int\n);\nINSERT INTO `p` VALUES\n(1),\n(2);\n" +
	"DROP TABLE IF EXISTS `c;\n``d`;\n" +
	"CREATE TABLE `c;\n``d` (\n  `id` int COMMENT ', CONSTRAINT `x` FOREIGN KEY (`id`) REFERENCES `p` (`id`)',\n  KEY `k` (`id`,`p`),\n" +
	"  CONSTRAINT `up` FOREIGN KEY (`p`) REFERENCES `p` (`id`) ON DELETE CASCADE ON UPDATE SET NULL,\n" +
	"  CONSTRAINT `self` FOREIGN KEY (`q`) REFERENCES `c;\n``d` (`id`),\n" +
	"  CONSTRAINT `out` FOREIGN KEY (`r`) REFERENCES `other`.`c` (`id`),\n  CONSTRAINT `n` CHECK (`id` > (1 + 1))\n) ENGINE=InnoDB;\n" +
	"/*!40000 ALTER TABLE `c;\n``d` DISABLE KEYS */;\nINSERT  IGNORE INTO `c;\n``d` VALUES (1,'; INSERT INTO `p` VALUES (9);\n'),\n(2,'x');\n/*!40000 ALTER TABLE `p` DISABLE KEYS */;\n" +
	"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`l`*/ /*!50003 TRIGGER t AFTER INSERT ON `p` FOR EACH ROW INSERT INTO `c;\n``d` VALUES (1) */;;\n" +
	"/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`l`*/ /*!50003 TRIGGER u AFTER DELETE ON `c;\n``d` FOR EACH ROW DELETE FROM `p` */;;\n" +
	"CREATE FUNCTION f() RETURNS int RETURN 1 ;;\nDELIMITER ;\n/*!50001 DROP VIEW IF EXISTS `v`*/;\n/*!50001 CREATE VIEW `v` AS SELECT 1 FROM `c;\n``d` */;\n" +
	"SELECT 1 FROM `c;\n``d`;\nUPDATE `c;\n``d` SET id = 1;\n" + end

const partOut = "/*!40101 SET NAMES utf8mb4 */;\n" +
	"DROP SEQUENCE IF EXISTS `sq`;\nCREATE SEQUENCE `sq` start with 1;\nDO SETVAL(`sq`, 1, 0);\n" +
	"DROP TABLE IF EXISTS `c;\n``d`;\n" +
	"CREATE TABLE `c;\n``d` (\n  `id` int COMMENT ', CONSTRAINT `x` FOREIGN KEY (`id`) REFERENCES `p` (`id`)',\n  KEY `k` (`id`,`p`),\n" +
	"  CONSTRAINT `self` FOREIGN KEY (`q`) REFERENCES `c;\n``d` (`id`),\n  CONSTRAINT `n` CHECK (`id` > (1 + 1))\n) ENGINE=InnoDB;\n" +
	"/*!40000 ALTER TABLE `c;\n``d` DISABLE KEYS */;\nINSERT  IGNORE INTO `c;\n``d` VALUES (1,'; INSERT INTO `p` VALUES (9);\n'),\n(2,'x');\n" +
	"DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`r`@`l`*/ /*!50003 TRIGGER u AFTER DELETE ON `c;\n``d` FOR EACH ROW DELETE FROM `p` */;;\nDELIMITER ;\n" + end

// TestRewriter_Only: what belongs to other tables is left out, wherever the dump is cut.
func TestRewriter_Only(t *testing.T) {
	squeeze := func(text string) string { // blank lines stay of what is left out
		for strings.Contains(text, "\n\n") {
			text = strings.ReplaceAll(text, "\n\n", "\n")
		}
		return text
	}
	for piece := 1; piece <= len(partDump); piece += 1 + piece/20 {
		got, notes, err := mysql.RewriteOnly(partDump, piece, "c;\n`d")
		if err != nil || squeeze(got) != partOut {
			t.Fatalf("in pieces of %d: %v\n got %s\nwant %s", piece, err, squeeze(got), partOut)
		}
		if !strings.Contains(notes, `"up"`) || !strings.Contains(notes, `"out"`) || strings.Contains(notes, `"self"`) {
			t.Fatalf("notes %q", notes)
		}
	}
}

// TestRestore_OneTable restores some tables of a large database, with rows, triggers, sequences and only foreign keys that lead
// somewhere.
func TestRestore_OneTable(t *testing.T) {
	s := server(t)
	database := newDatabase(t, s)
	fillHurting(t, s, database)
	want := content(t, s, database)
	e := newEngine(t, config(s))
	dump, _ := readAll(t, e, database)
	part := func(tables ...string) (string, engine.Restore, error) {
		req := engine.RestoreRequest{Database: newStaging()}
		for _, name := range tables {
			req.Only = append(req.Only, engine.Selection{Table: name})
		}
		r, err := e.Restore(testContext(t), req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.Abort)
		if _, err := r.Write(dump); err != nil {
			return req.Database, r, err
		}
		return req.Database, r, r.Close()
	}
	tables := []string{"hen", "watched", "texts", "odd `name`; -- \"'", "tree"}
	if s.Bin().Flavour == mysqlserver.MariaDB {
		tables = append(tables, "drawn")
	}
	staging, r, err := part(tables...)
	if err != nil {
		t.Fatal(err)
	}
	got := content(t, s, staging)
	for _, name := range tables {
		if got["rows of "+name] != want["rows of "+name] {
			t.Errorf("rows of %s: %q, want %q", name, got["rows of "+name], want["rows of "+name])
		}
		if name != "hen" && got["TABLE "+name] != want["TABLE "+name] {
			t.Errorf("%s is\n%s\nwant\n%s", name, got["TABLE "+name], want["TABLE "+name])
		}
	}
	for key := range got {
		kind, name, _ := strings.Cut(key, " ")
		switch {
		case kind == "TABLE" && !slices.Contains(tables, name), kind == "VIEW", kind == "PROCEDURE", kind == "FUNCTION", kind == "EVENT":
			t.Errorf("there is %s", key)
		}
	}
	for _, trigger := range []string{"zeroth_before", "after_two", "gone"} {
		if got["TRIGGER "+trigger] != want["TRIGGER "+trigger] {
			t.Errorf("trigger %s is %q", trigger, got["TRIGGER "+trigger])
		}
	}
	if strings.Contains(got["TABLE hen"], "FOREIGN KEY") || !strings.Contains(r.Log(), `"hatched"`) {
		t.Errorf("it refers to a table that is not there: %s\n%s", got["TABLE hen"], r.Log())
	}
	// Both together keep what is between them.
	staging, _, err = part("hen", "egg")
	if err != nil {
		t.Fatal(err)
	}
	if got := content(t, s, staging); got["TABLE hen"] != want["TABLE hen"] || got["TABLE egg"] != want["TABLE egg"] {
		t.Errorf("%s\n%s", got["TABLE hen"], got["TABLE egg"])
	}
	staging, _, err = part("watched", "no such")
	wantCode(t, err, wire.CodeBadRequest)
	if there, err := e.Exists(testContext(t), staging); err != nil || there {
		t.Errorf("it is left: %v, %v", there, err)
	}
	for _, only := range []engine.Selection{{Schema: "x", Table: "y"}, {Schema: "x"}, {}} {
		_, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Only: []engine.Selection{only}})
		wantCode(t, err, wire.CodeBadRequest)
	}
}

// TestRestore_DefinersByRequest: a request may be stricter than the host, never laxer.
func TestRestore_DefinersByRequest(t *testing.T) {
	s := server(t)
	e := newEngine(t, config(s))
	_, err := e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Definers: mysql.KeepDefiners})
	if f := wantCode(t, err, wire.CodeNotAllowed); !strings.Contains(f.Hint, "restore.definers") {
		t.Errorf("%+v", f)
	}
	_, err = e.Restore(testContext(t), engine.RestoreRequest{Database: newStaging(), Definers: "some"})
	wantCode(t, err, wire.CodeBadRequest)
	database := newDatabase(t, s, smallSQL...)
	dump, _ := readAll(t, e, database)
	cfg := config(s)
	cfg.Definers = mysql.KeepDefiners
	req := engine.RestoreRequest{Database: newStaging(), Definers: mysql.StripDefiners}
	r, err := newEngine(t, cfg).Restore(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Abort)
	if _, err := r.Write(dump); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if got := query(t, s, "", "SELECT DISTINCT DEFINER FROM information_schema.VIEWS WHERE TABLE_SCHEMA = ?", req.Database); !slices.Equal(got, []string{restoreUser + "@127.0.0.1"}) {
		t.Errorf("definers %q", got)
	}
}
