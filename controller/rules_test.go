package controller_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"testing"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

func TestPartSize(t *testing.T) {
	const mib, gib, tib = int64(1) << 20, int64(1) << 30, int64(1) << 40
	for _, c := range []struct{ database, want int64 }{
		{0, 8 * mib},
		{-1, 8 * mib},
		{math.MinInt64, 8 * mib},
		{10 * gib, 8 * mib},
		{8 * mib * 4500, 8 * mib},
		{8*mib*4500 + 1, 16 * mib},
		{16 * mib * 4500, 16 * mib},
		{16*mib*4500 + 1, 32 * mib},
		{tib, 256 * mib},
		{5 * tib, 2 * gib},
		{100 * tib, 4 * gib},
		{math.MaxInt64, 4 * gib},
	} {
		if got := controller.PartSize(c.database, 0); got != c.want {
			t.Errorf("PartSize(%d) = %d, want %d", c.database, got, c.want)
		}
	}
	// The rule itself, up to the largest object that S3 stores.
	for size := int64(1); size <= 5*tib; size = size*3/2 + 1 {
		p := controller.PartSize(size, controller.MaxParts)
		if p&(p-1) != 0 || p < 8*mib || p > 5*gib || p*9000 < 2*size || (p > 8*mib && p/2*9000 >= 2*size) {
			t.Errorf("PartSize(%d) = %d", size, p)
		}
	}
}

func TestPartSize_FewParts(t *testing.T) {
	const mib, gib = int64(1) << 20, int64(1) << 30
	for _, c := range []struct {
		database int64
		parts    int
		want     int64
	}{
		{0, 1000, 8 * mib},
		{8 * mib * 450, 1000, 8 * mib},
		{8*mib*450 + 1, 1000, 16 * mib},
		{100 * gib, 1000, 256 * mib},
		{10 * gib, 20000, 8 * mib}, // more than S3 takes is not believed
		{10 * gib, -1, 8 * mib},
		{8*mib*4500 + 1, 10000, 16 * mib},
		{gib, 1, 2 * gib},
	} {
		if got := controller.PartSize(c.database, c.parts); got != c.want {
			t.Errorf("PartSize(%d, %d) = %d, want %d", c.database, c.parts, got, c.want)
		}
	}
}

func TestUploadLimit(t *testing.T) {
	const gib = int64(1) << 30
	for _, c := range []struct{ database, last, atLeast, want int64 }{
		{0, 0, gib, gib},
		{gib / 4, 0, gib, gib},
		{gib/4 + 1, 0, gib, gib + 4},
		{5, 10 * gib, gib, 40 * gib},
		{10 * gib, 5, gib, 40 * gib},
		{-1, -1, gib, gib},
		{math.MaxInt64, 0, gib, math.MaxInt64 - 3},
		{0, math.MaxInt64/4 + 1, gib, math.MaxInt64 - 3},
		{0, 0, 0, 0},
	} {
		if got := controller.UploadLimit(c.database, c.last, c.atLeast); got != c.want {
			t.Errorf("UploadLimit(%d, %d, %d) = %d, want %d", c.database, c.last, c.atLeast, got, c.want)
		}
	}
}

func TestRetry_Wait(t *testing.T) {
	r := controller.Retry{Base: 10 * time.Second, Max: 10 * time.Minute}
	for no, want := range map[int]time.Duration{
		-1: 10 * time.Second, 0: 10 * time.Second, 1: 10 * time.Second, 2: 10 * time.Second, 3: 20 * time.Second, 4: 40 * time.Second, 7: 320 * time.Second,
		8: 10 * time.Minute, 9: 10 * time.Minute, 1000: 10 * time.Minute, math.MaxInt: 10 * time.Minute,
	} {
		if got := r.Wait(no); got != want {
			t.Errorf("Wait(%d) = %s, want %s", no, got, want)
		}
	}
	forever := controller.Retry{Base: time.Hour, Max: math.MaxInt64}
	for no, last := 2, time.Duration(0); no < 200; no++ {
		d := forever.Wait(no)
		if d < last || d <= 0 {
			t.Fatalf("Wait(%d) = %d after %d: it overflowed", no, d, last)
		}
		last = d
	}
	if got := (controller.Retry{}).Wait(math.MaxInt); got != 0 {
		t.Errorf("without a base: %s", got)
	}
	if got := (controller.Retry{Base: time.Hour, Max: time.Second}).Wait(2); got != time.Second {
		t.Errorf("a base above the longest wait: %s", got)
	}
}

func TestScope(t *testing.T) {
	for _, c := range []struct {
		scope   controller.Scope
		setting string
		sees    map[int64]bool
	}{
		{controller.Scope{}, "", map[int64]bool{0: false, 1: false}},
		{controller.Scope{All: true}, "*", map[int64]bool{0: true, 1: true}},
		{controller.Scope{Projects: []int64{7}}, "7", map[int64]bool{7: true, 77: false, 0: false}},
		{controller.Scope{Projects: []int64{3, 1, 12}}, "3,1,12", map[int64]bool{1: true, 2: false, 12: true, 31: false}},
		{controller.Scope{All: true, Projects: []int64{1}}, "*", map[int64]bool{2: true}},
	} {
		if got := c.scope.Setting(); got != c.setting {
			t.Errorf("%+v: setting %q, want %q", c.scope, got, c.setting)
		}
		for id, want := range c.sees {
			if c.scope.Sees(id) != want {
				t.Errorf("%+v: Sees(%d) = %v", c.scope, id, !want)
			}
		}
	}
}

func TestActor_Can(t *testing.T) {
	a := controller.Actor{Permissions: []string{controller.ViewBackups}, Scope: controller.Scope{All: true}}
	if !a.Can(controller.ViewBackups) || a.Can(controller.DeleteBackups) || a.Can("") || (controller.Actor{}).Can(controller.ViewBackups) {
		t.Error("permissions are mixed up")
	}
	seen := map[string]bool{}
	for _, p := range controller.Permissions {
		if seen[p] || p == "" {
			t.Errorf("permission %q twice or empty", p)
		}
		seen[p] = true
	}
}

func TestJobTerminal(t *testing.T) {
	for status, want := range map[string]bool{
		controller.JobQueued: false, controller.JobRunning: false, controller.JobFinishing: false,
		controller.JobCompleted: true, controller.JobFailed: true, controller.JobCancelled: true, controller.JobTimedOut: true,
	} {
		if controller.JobTerminal(status) != want {
			t.Errorf("JobTerminal(%s) = %v", status, !want)
		}
	}
}

func TestBackup_Restorable(t *testing.T) {
	now := time.Now()
	good := controller.Backup{Status: controller.StatusCompleted, Health: controller.HealthOK}
	if !good.Restorable() {
		t.Error("a completed, healthy backup cannot be restored")
	}
	for name, change := range map[string]func(*controller.Backup){
		"pending":  func(b *controller.Backup) { b.Status = controller.StatusPending },
		"running":  func(b *controller.Backup) { b.Status = controller.StatusRunning },
		"failed":   func(b *controller.Backup) { b.Status = controller.StatusFailed },
		"corrupt":  func(b *controller.Backup) { b.Health = controller.HealthCorrupt },
		"missing":  func(b *controller.Backup) { b.Health = controller.HealthMissing },
		"archived": func(b *controller.Backup) { b.Health = controller.HealthArchived },
		"deleting": func(b *controller.Backup) { b.Health = controller.HealthDeleting },
		"deleted":  func(b *controller.Backup) { b.DeletedAt = &now },
		"unset":    func(b *controller.Backup) { *b = controller.Backup{} },
	} {
		b := good
		change(&b)
		if b.Restorable() {
			t.Errorf("%s: can be restored", name)
		}
	}
}

func TestErrorCode(t *testing.T) {
	invalid := controller.Invalid("level", "%d is not allowed", 20).WithHint("use %d", 3)
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, ""},
		{invalid, controller.EInvalid},
		{fmt.Errorf("create backup: %w", invalid), controller.EInvalid},
		{errors.Join(io.EOF, controller.Errorf(controller.EConflict, "x")), controller.EConflict},
		{io.EOF, controller.EInternal},
	} {
		if got := controller.ErrorCode(c.err); got != c.want {
			t.Errorf("ErrorCode(%v) = %q, want %q", c.err, got, c.want)
		}
	}
	if got, want := invalid.Error(), "level: 20 is not allowed (use 3)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if got := controller.Errorf(controller.ENotFound, "backup %d does not exist", 7).Error(); got != "backup 7 does not exist" {
		t.Errorf("Error() = %q", got)
	}
}

func TestNameInFile(t *testing.T) {
	for _, c := range []struct{ engine, database, want string }{
		{wire.EnginePostgreSQL, "/srv/app.db", "/srv/app.db"},
		{wire.EngineMySQL, "shop", "shop"},
		{wire.EngineSQLite, "/srv/app/shop.sqlite", "shop"},
		{wire.EngineSQLite, "/srv/app/v1.2.db", "v1.2"},
		{wire.EngineSQLite, "/srv/app/plain", "plain"},
		{wire.EngineSQLite, "/srv/app/.hidden", ".hidden"},
	} {
		if got := controller.NameInFile(c.engine, c.database); got != c.want {
			t.Errorf("%s %q: %q, want %q", c.engine, c.database, got, c.want)
		}
	}
}
