package mysql_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"devflowbackup/agent/internal/engine/mysql"
	"devflowbackup/shared/wire"
)

const end = "-- Dump completed on 2026-11-23  2:18:43\n"

// Each line that ends in "→" is what becomes of the line before it.
var rewriteCases = map[string]struct {
	in, out   string
	keep      bool
	unqualify string
}{
	"Plain": {in: "CREATE TABLE `t` (`DEFINER` int COMMENT 'DEFINER=`a`@`b` ENABLE');\nINSERT INTO `t` VALUES\n(1,'x;\\n\\'DEFINER=`a`@`b`'),\n(2,'');\n"},
	"View": {
		in:  "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`ro``ot`@`%` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 'DEFINER=`a`@`b`' AS `x` */;\n",
		out: "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 'DEFINER=`a`@`b`' AS `x` */;\n",
	},
	"KeptView": {in: "/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`root`@`%` SQL SECURITY DEFINER */\n/*!50001 VIEW `v` AS select 1 */;\n", keep: true},
	"Trigger": {
		in:  "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ /*!50003 TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN /* don't */ SET @x = ';'; -- isn't\nEND */;;\nDELIMITER ;\nSELECT 1;\n",
		out: "DELIMITER ;;\n/*!50003 CREATE*/ /*!50017 */ /*!50003 TRIGGER t BEFORE INSERT ON a FOR EACH ROW BEGIN /* don't */ SET @x = ';'; -- isn't\nEND */;;\nDELIMITER ;\nSELECT 1;\n",
	},
	"QualifiedTrigger": {
		in:  "CREATE TRIGGER `old`.t BEFORE INSERT ON old.`a` FOR EACH ROW SET @x = old.a;\n",
		out: "CREATE TRIGGER t BEFORE INSERT ON `a` FOR EACH ROW SET @x = old.a;\n",
	},
	"Routine": {
		in:  "DELIMITER //\nCREATE DEFINER=`a b`@`10.%` FUNCTION `f`(n int) RETURNS int\nBEGIN\n  # it's; //no\n  RETURN n; END //\nDELIMITER ;\n",
		out: "DELIMITER //\nCREATE FUNCTION `f`(n int) RETURNS int\nBEGIN\n  # it's; //no\n  RETURN n; END //\nDELIMITER ;\n",
	},
	"OtherDefiners": {
		in:  "CREATE OR REPLACE DEFINER = 'a'@'b' VIEW v AS SELECT 1;\ncreate definer=current_user() procedure p() select 1;\nCREATE DEFINER=CURRENT_ROLE FUNCTION f() RETURNS int RETURN 1;\nCREATE DEFINER=\"r\"@\"l\" PACKAGE \"p\" AS END;\n",
		out: "CREATE OR REPLACE VIEW v AS SELECT 1;\ncreate procedure p() select 1;\nCREATE FUNCTION f() RETURNS int RETURN 1;\nCREATE PACKAGE \"p\" AS END;\n",
	},
	"Event": {
		in:  "DELIMITER ;;\n/*!50106 CREATE*/ /*!50117 DEFINER=`r`@`l`*/ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY STARTS '2026-11-23 02:18:43' ON COMPLETION NOT PRESERVE ENABLE COMMENT 'ENABLE DO' DO SELECT ENABLE */ ;;\nDELIMITER ;\n",
		out: "DELIMITER ;;\n/*!50106 CREATE*/ /*!50117 */ /*!50106 EVENT `ENABLE` ON SCHEDULE EVERY 1 DAY STARTS '2026-11-23 02:18:43' ON COMPLETION NOT PRESERVE DISABLE COMMENT 'ENABLE DO' DO SELECT ENABLE */ ;;\nDELIMITER ;\n",
	},
	"DisabledEvent": {in: "CREATE EVENT e ON SCHEDULE AT '2030-01-01' DISABLE ON SLAVE DO SET @x = 'ENABLE';\n"},
	"NoBackslashEscapes": {
		in: "/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\nCREATE DEFINER=`r`@`l` PROCEDURE `p`() SELECT 'a\\' ;;\nDELIMITER ;\n" +
			"/*!50003 SET sql_mode              = @saved_sql_mode */ ;\nINSERT INTO t VALUES ('\\'; CREATE DEFINER=`r`@`l` VIEW');\nCREATE DEFINER=`r`@`l` VIEW v AS SELECT 1;\n",
		out: "/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES' */ ;\nDELIMITER ;;\nCREATE PROCEDURE `p`() SELECT 'a\\' ;;\nDELIMITER ;\n" +
			"/*!50003 SET sql_mode              = @saved_sql_mode */ ;\nINSERT INTO t VALUES ('\\'; CREATE DEFINER=`r`@`l` VIEW');\nCREATE VIEW v AS SELECT 1;\n",
	},
	"AlterDatabase": {
		in:  "ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_bin;\nALTER DATABASE `old``;name` CHARACTER SET latin1 COLLATE latin1_bin ;\n",
		out: "ALTER DATABASE CHARACTER SET latin1 COLLATE latin1_bin;\nALTER DATABASE  CHARACTER SET latin1 COLLATE latin1_bin ;\n",
	},
	"Sequence": {
		in:        "CREATE TABLE `a` (`id` int DEFAULT nextval(`old`.`s`), c varchar(30) DEFAULT 'nextval(`old`.`s`)', d int DEFAULT nextval(`other`.`s`));\n",
		out:       "CREATE TABLE `a` (`id` int DEFAULT nextval(`s`), c varchar(30) DEFAULT 'nextval(`old`.`s`)', d int DEFAULT nextval(`other`.`s`));\n",
		unqualify: "old",
	},
	"Comments":  {in: "-- it's\n# \"x\n/* ; ' */\nSELECT 1 -- it's;\n;\n/*!40101 SET NAMES utf8mb4 */;\n"},
	"OddNames":  {in: "INSERT INTO `x;\ny` (`a;\nCREATE`) VALUES (1);\nCREATE TABLE `c;``'` (n int);\n"},
	"Newlines":  {in: "INSERT INTO t VALUES ('a;\nCREATE DEFINER=`r`@`l` VIEW v AS SELECT 1;\n');\n"},
	"NoNewline": {in: "SELECT 1;SELECT 2;INSERT INTO t VALUES (1);"},
}

func TestRewriter(t *testing.T) {
	for name, c := range rewriteCases {
		t.Run(name, func(t *testing.T) {
			want := c.out
			if want == "" {
				want = c.in
			}
			sep := ""
			if name == "NoNewline" {
				sep = "\n"
			}
			// Cut at every place: it must not matter how the dump comes.
			for piece := 1; piece <= len(c.in)+len(end); piece++ {
				got, _, err := mysql.Rewrite(c.in+sep+end, piece, !c.keep, true, true, c.unqualify)
				if err != nil || got != want+sep+end {
					t.Fatalf("in pieces of %d: %v\n got %q\nwant %q", piece, err, got, want+sep+end)
				}
			}
		})
	}
}

func TestRewriter_Sandbox(t *testing.T) {
	const line, rest = "/*M!999999\\- enable the sandbox mode */ \n", "-- MariaDB dump\nSELECT 1;\n" + end
	for piece := 1; piece < len(line)+10; piece++ {
		if got, _, err := mysql.Rewrite(line+rest, piece, true, true, true, ""); err != nil || got != rest {
			t.Fatalf("in pieces of %d: %q, %v", piece, got, err)
		}
		if got, _, err := mysql.Rewrite(line+rest, piece, true, true, false, ""); err != nil || got != line+rest {
			t.Fatalf("kept, in pieces of %d: %q, %v", piece, got, err)
		}
	}
}

func TestRewriter_CountsInserts(t *testing.T) {
	_, n, err := mysql.Rewrite("INSERT INTO a VALUES (1);\nINSERT INTO b VALUES\n(';'),\n(2);\nSELECT 'INSERT';\n"+end, 7, true, true, true, "")
	if err != nil || n != 2 {
		t.Fatalf("%d, %v", n, err)
	}
}

func TestRewriter_Incomplete(t *testing.T) {
	for name, c := range map[string]struct{ dump, code string }{
		"Empty":            {"", wire.CodeIncompleteDump},
		"NoMark":           {"SELECT 1;\n", wire.CodeIncompleteDump},
		"MarkInside":       {end + "SELECT 1;\n", wire.CodeIncompleteDump},
		"MarkIsCut":        {"SELECT 1;\n" + end[:len(end)-1], wire.CodeIncompleteDump},
		"MarkIsNoLine":     {"SELECT 1; " + end, wire.CodeIncompleteDump},
		"OpenStatement":    {"SELECT 1\n" + end, wire.CodeCorrupt},
		"OpenQuote":        {"SELECT 'x;\n" + end, wire.CodeCorrupt},
		"OpenComment":      {"SELECT 1;\n/* x\n" + end, wire.CodeCorrupt},
		"OpenDefinition":   {"CREATE TABLE t (n int)\n" + end, wire.CodeCorrupt},
		"EndlessStatement": {"CREATE TABLE t (" + strings.Repeat("x int,", 3<<20) + ");\n" + end, wire.CodeCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := mysql.Rewrite(c.dump, 1<<16, true, true, true, "")
			if !wire.HasCode(err, c.code) {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
	for _, dump := range []string{"SELECT 1;\n-- Dump completed\n", end} {
		if _, _, err := mysql.Rewrite(dump, 5, true, true, true, ""); err != nil {
			t.Errorf("%q: %v", dump, err)
		}
	}
}

// TestRewriter_Backslashes: a long text of nothing but escapes takes time in proportion to its length.
func TestRewriter_Backslashes(t *testing.T) {
	dump := "INSERT INTO t VALUES ('" + strings.Repeat(`\'`, 8<<20) + "');\n" + end
	started := time.Now()
	got, _, err := mysql.Rewrite(dump, 256<<10, true, true, true, "")
	if err != nil || got != dump {
		t.Fatal(err)
	}
	if took := time.Since(started); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

// BenchmarkRewriter measures rows as the dump programs write them.
func BenchmarkRewriter(b *testing.B) {
	row := "(1234567,12,0,'" + strings.Repeat("x", 84) + "'),\n"
	data := []byte("INSERT INTO `accounts` VALUES\n" + strings.Repeat(row, 9000) + "(1,2,3,'x');\n")
	data = bytes.Repeat(data, 64)
	b.SetBytes(int64(len(data)))
	for b.Loop() {
		r := mysql.NewDiscardingRewriter()
		for rest := data; len(rest) > 0; {
			n := min(256<<10, len(rest))
			if _, err := r.Write(rest[:n]); err != nil {
				b.Fatal(err)
			}
			rest = rest[n:]
		}
	}
}
