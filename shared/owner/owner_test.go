package owner_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"devflowbackup/shared/owner"
)

const child = "DEVFLOW_TEST_BECOME"

// A process changes its account for good: it happens in another one.
func TestMain(m *testing.M) {
	if dir := os.Getenv(child); dir != "" {
		if err := owner.Become(dir); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600)
		groups, _ := os.Getgroups()
		fmt.Println(os.Getuid(), os.Geteuid(), os.Getgid(), groups, err, syscall.Setuid(0))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func become(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.Command("/proc/self/exe") //nolint:noctx // it ends by itself
	cmd.Env = append(os.Environ(), child+"="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestBecome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	dir, err := os.MkdirTemp("/tmp", "owner")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if got := become(t, dir); !strings.HasPrefix(got, "0 0 0 ") {
		t.Errorf("root's own directory made us %s", got)
	}
	if got := become(t, filepath.Join(dir, "none")); !strings.HasPrefix(got, "0 0 0 ") {
		t.Errorf("no directory made us %s", got)
	}
	_ = os.Remove(filepath.Join(dir, "file"))
	if err := os.Chown(dir, 61234, 61235); err != nil {
		t.Fatal(err)
	}
	if got := become(t, dir); got != "61234 61234 61235 [61235] <nil> operation not permitted" {
		t.Errorf("became %s", got)
	}
	st, err := os.Stat(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	if sys := st.Sys().(*syscall.Stat_t); sys.Uid != 61234 || sys.Gid != 61235 {
		t.Errorf("the file belongs to %d:%d", sys.Uid, sys.Gid)
	}
}

func TestGrant(t *testing.T) {
	like := t.TempDir()
	if err := os.Chown(like, 61234, 61235); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	for range 2 { // one that is there stays as it is
		if err := owner.Grant(dir, like); err != nil {
			t.Fatal(err)
		}
	}
	st, err := os.Stat(dir)
	if err != nil {
		t.Fatal(err)
	}
	if sys := st.Sys().(*syscall.Stat_t); sys.Uid != 61234 || st.Mode().Perm() != 0o700 {
		t.Errorf("the directory belongs to %d, mode %04o", sys.Uid, st.Mode().Perm())
	}
	if err := owner.Grant("/", like); err != nil {
		t.Fatal(err)
	}
	if st, err = os.Stat("/"); err != nil || st.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Fatalf("what was there was given away (%v)", err)
	}
}
