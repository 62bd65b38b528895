package mysql_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/engine/mysql"
)

const (
	mariaDump  = "mariadb-dump  Ver 10.19 Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)"
	oracleDump = "mysqldump  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server - GPL)"
)

func TestDumpArgs(t *testing.T) {
	common := []string{
		"--opt", "--single-transaction", "--skip-lock-tables", "--quick", "--skip-add-locks", "--routines", "--triggers", "--events", "--hex-blob",
		"--no-tablespaces", "--tz-utc", "--comments", "--dump-date", "--verbose", "--default-character-set=utf8mb4", "--max-allowed-packet=1073741824",
	}
	for name, c := range map[string]struct {
		program, server string
		history         bool
		extra           []string
	}{
		"MariaDB":          {mariaDump, "10.11.19-MariaDB-0+deb12u1", false, nil},
		"MariaDBVersioned": {mariaDump, "10.11.19-MariaDB-0+deb12u1", true, []string{"--dump-history"}},
		"OldMariaDB":       {"mysqldump  Ver 10.19 Distrib 10.6.12-MariaDB, for Linux", "10.6.12-MariaDB", true, nil},
		"OldServer":        {mariaDump, "10.6.12-MariaDB", true, nil},
		"MySQL":            {oracleDump, "8.4.3", false, []string{"--set-gtid-purged=OFF", "--column-statistics=0", "--loose-init-command=SET SESSION net_write_timeout = 86400"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := slices.Concat([]string{"--defaults-file=/proc/self/fd/3"}, common, c.extra, []string{"--", "--evil"})
			if got := mysql.DumpArgs(c.program, c.server, c.history, "--evil"); !slices.Equal(got, want) {
				t.Errorf("\n got %q\nwant %q", got, want)
			}
		})
	}
}

func TestClientArgs(t *testing.T) {
	for program, own := range map[string]string{
		"mariadb  Ver 15.1 Distrib 10.11.19-MariaDB, for debian-linux-gnu": "--loose-sandbox",
		"mysql  Ver 8.4.3 for Linux on x86_64 (MySQL Community Server)":    "--loose-skip-system-command",
	} {
		want := []string{
			"--defaults-file=/proc/self/fd/3", "--binary-mode", "--batch", "--no-auto-rehash", "--local-infile=0", "--comments",
			"--default-character-set=utf8mb4", "--max-allowed-packet=1073741824",
			"--init-command=SET SESSION wait_timeout = 86400, net_read_timeout = 3600", own, "--", "x",
		}
		if got := mysql.ClientArgs(program, "x"); !slices.Equal(got, want) {
			t.Errorf("\n got %q\nwant %q", got, want)
		}
	}
}

func TestParseProgram(t *testing.T) {
	for answer, want := range map[string][2]string{
		mariaDump: {"MariaDB", "10.11.19"},
		"mariadb-dump from 11.4.2-MariaDB, client 10.19 for debian-linux-gnu (x86_64)": {"MariaDB", "11.4.2"},
		"mysqldump from 12.0.2-MariaDB, client 10.19 for Linux (x86_64)":               {"MariaDB", "12.0.2"},
		oracleDump: {"MySQL", "8.4.3"},
		"mysqldump  Ver 9.7.0-commercial for Linux on x86_64 (MySQL Enterprise Server)":   {"MySQL", "9.7.0"},
		"mysqldump  Ver 10.13 Distrib 5.7.44, for Linux (x86_64)":                         {"MySQL", "5.7.44"},
		"mysql  Ver 14.14 Distrib 5.7.44, for Linux (x86_64) using  EditLine wrapper":     {"MySQL", "5.7.44"},
		"mariadb  Ver 15.1 Distrib 10.11.19-MariaDB, for debian-linux-gnu using EditLine": {"MariaDB", "10.11.19"},
	} {
		flavour, version, err := mysql.ParseProgram(answer)
		if err != nil || flavour != want[0] || version != want[1] {
			t.Errorf("%s: %s %s, %v", answer, flavour, version, err)
		}
	}
	if _, _, err := mysql.ParseProgram("hello"); err == nil {
		t.Error("hello is no version")
	}
}

func TestParseServer(t *testing.T) {
	for _, c := range []struct {
		version, comment, flavour, number string
		major, minor                      int
	}{
		{"10.11.19-MariaDB-0+deb12u1", "Debian 12", "MariaDB", "10.11.19-MariaDB", 10, 11},
		{"5.5.5-10.3.39-MariaDB", "", "MariaDB", "10.3.39-MariaDB", 10, 3},
		{"11.4.2", "MariaDB Server", "MariaDB", "11.4.2-MariaDB", 11, 4},
		{"8.0.36-28", "Percona Server (GPL)", "MySQL", "8.0.36", 8, 0},
		{"8.0.mysql_aurora.3.04.0", "Source distribution", "MySQL", "8.0", 8, 0},
		{"9.7.0", "MySQL Community Server - GPL", "MySQL", "9.7.0", 9, 7},
	} {
		flavour, number, major, minor := mysql.ParseServer(c.version, c.comment)
		if flavour != c.flavour || number != c.number || major != c.major || minor != c.minor {
			t.Errorf("%s: %s %s %d %d", c.version, flavour, number, major, minor)
		}
	}
}

// TestQuoteOption asks the programs' own reader.
func TestQuoteOption(t *testing.T) {
	for _, value := range []string{
		"plain", " leading", "trailing ", `do"uble`, `sin'gle`, `$HOME`, "#hash", "a#b", `back\slash`, `ends\`, `\n`, "semi;colon", "tab\tnew\nline\r",
		`"quoted"`, `'quoted'`, "ünï", "=", "[client]", "!include /etc/passwd", "\b", `\s`, `a"b'c\#$; `,
	} {
		path := filepath.Join(t.TempDir(), "o.cnf")
		if err := os.WriteFile(path, []byte("[client]\nuser="+mysql.QuoteOption(value)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("my_print_defaults", "--defaults-file="+path, "client").Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimSuffix(string(out), "\n"); got != "--user="+value {
			t.Errorf("%q is read as %q", value, got)
		}
	}
}

func TestTLSOptions(t *testing.T) {
	for _, c := range []struct{ flavour, mode, want string }{
		{"MariaDB", "disable", "ssl=0"},
		{"MariaDB", "prefer", "ssl=1 ssl-verify-server-cert=0"},
		{"MariaDB", "require", "ssl=1 ssl-verify-server-cert=0"},
		{"MariaDB", "verify-ca", "ssl=1 ssl-ca=/ca ssl-verify-server-cert=0"},
		{"MariaDB", "verify-full", "ssl=1 ssl-ca=/ca ssl-verify-server-cert=1"},
		{"MySQL", "disable", "ssl-mode=DISABLED get-server-public-key=1"},
		{"MySQL", "prefer", "ssl-mode=PREFERRED"},
		{"MySQL", "require", "ssl-mode=REQUIRED"},
		{"MySQL", "verify-ca", "ssl-mode=VERIFY_CA ssl-ca=/ca"},
		{"MySQL", "verify-full", "ssl-mode=VERIFY_IDENTITY ssl-ca=/ca"},
	} {
		var got []string
		for _, option := range mysql.TLSOptions(c.flavour, c.mode, "/ca") {
			got = append(got, option[0]+"="+option[1])
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s %s: %q", c.flavour, c.mode, got)
		}
	}
}

func TestRights(t *testing.T) {
	staging := "GRANT ALL PRIVILEGES ON `devflow\\_staging\\_%`.* TO `r`@`localhost`"
	for _, c := range []struct {
		definers string
		lines    []string
		bad      string // part of the problem; none if empty
	}{
		{"strip", []string{"GRANT USAGE ON *.* TO `r`@`localhost` IDENTIFIED BY PASSWORD '*0'", staging}, ""},
		{"strip", []string{"GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` WITH GRANT OPTION"}, "ALL PRIVILEGES, GRANT OPTION"},
		{"strip", []string{"GRANT FILE ON *.* TO `r`@`localhost`", staging}, "FILE"},
		{"strip", []string{"GRANT SELECT, SUPER, CREATE USER ON *.* TO `r`@`localhost`"}, "CREATE USER, SUPER"},
		{"strip", []string{"GRANT SYSTEM_VARIABLES_ADMIN ON *.* TO `r`@`%`"}, "SYSTEM_VARIABLES_ADMIN"},
		{"strip", []string{"GRANT CONNECTION ADMIN ON *.* TO `r`@`%`"}, "CONNECTION ADMIN"},
		{"strip", []string{"GRANT SET USER ON *.* TO `r`@`%`"}, "SET USER"},
		{"keep", []string{"GRANT SET USER ON *.* TO `r`@`%`", staging}, ""},
		{"strip", []string{"GRANT SELECT, INSERT ON *.* TO `r`@`%`"}, "INSERT on the database mysql"},
		{"strip", []string{"GRANT SELECT, INSERT ON *.* TO `r`@`%`", "REVOKE INSERT ON `mysql`.* FROM `r`@`%`"}, ""},
		{"strip", []string{"GRANT ALL PRIVILEGES ON `%`.* TO `r`@`%`"}, "on the database mysql"},
		{"strip", []string{"GRANT UPDATE ON `mysql`.`global_priv` TO `r`@`%`"}, "mysql.global_priv"},
		{"strip", []string{"GRANT SELECT (`a`, `b`), UPDATE (`a`) ON `x`.`t` TO `r`@`%`", "GRANT PROXY ON ''@'' TO 'r'@'%'"}, ""},
		{"strip", []string{"GRANT SELECT, RELOAD, PROCESS ON *.* TO `r`@`%`"}, ""},
	} {
		got := strings.Join(mysql.Problems(c.definers, c.lines...), ", ")
		if c.bad == "" && got != "" || !strings.Contains(got, c.bad) {
			t.Errorf("%q: %q, want %q", c.lines, got, c.bad)
		}
	}
	for _, c := range []struct {
		database string
		lines    []string
		want     string
	}{
		{"shop", []string{"GRANT SELECT, SHOW VIEW, TRIGGER, EVENT ON *.* TO `b`@`%`"}, ""},
		{"shop", []string{"GRANT SELECT, SHOW VIEW ON *.* TO `b`@`%`", "GRANT TRIGGER, EVENT ON `sh%`.* TO `b`@`%`"}, ""},
		{"shop", []string{"GRANT SELECT, SHOW VIEW ON *.* TO `b`@`%`", "GRANT TRIGGER ON `shop`.`t` TO `b`@`%`"}, "TRIGGER EVENT"},
		{"shop_1", []string{"GRANT ALL PRIVILEGES ON `shop\\_1`.* TO `b`@`%`"}, ""},
		{"shopX1", []string{"GRANT ALL PRIVILEGES ON `shop\\_1`.* TO `b`@`%`"}, "SELECT SHOW VIEW TRIGGER EVENT"},
		{"a`b", []string{"GRANT ALL PRIVILEGES ON `a``b`.* TO `b`@`%`"}, ""},
		{"shop", []string{"GRANT ALL PRIVILEGES ON *.* TO `b`@`%`", "REVOKE TRIGGER ON `shop`.* FROM `b`@`%`"}, "TRIGGER"},
	} {
		if got := strings.Join(mysql.Lacks(c.database, c.lines...), " "); got != c.want {
			t.Errorf("%s, %q: %q", c.database, c.lines, got)
		}
	}
}

func TestErrorNumber(t *testing.T) {
	for log, want := range map[string]int{
		`mariadb-dump: Got error: 1045: "Access denied for user 'x'@'y' (using password: YES)" when trying to connect`:            1045,
		"mysqldump: Error 2013: Lost connection to server during query when dumping table `t` at row: 1":                          2013,
		"mariadb-dump: Couldn't execute 'show create table `v1`': SHOW VIEW command denied (1142)":                                1142,
		"--------------\nINSERT INTO `a` VALUES\n(5)\n--------------\n\nERROR 1100 (HY000) at line 51: Table 's1' was not locked": 1100,
		"ERROR at line 1: Unknown command '\\!'.": 0,
		"": 0,
	} {
		if got := mysql.ErrorNumber(log); got != want {
			t.Errorf("%q: %d", log, got)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{{"*", "", true}, {"a*c", "abbc", true}, {"a*c", "abbd", false}, {"?", "ü", true}, {"?", "ab", false}, {"a_%", "ab1", false}, {`\*`, `\x`, true}} {
		if mysql.Match(c.pattern, c.name) != c.want {
			t.Errorf("%q, %q", c.pattern, c.name)
		}
	}
}
