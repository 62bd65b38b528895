package controller_test

import (
	"testing"
	"time"

	"devflowbackup/controller"
)

// TestDisplay: sizes and durations in the panel's form, also where rounding leads into the next unit.
func TestDisplay(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KB", 1536: "1.5 KB", 1 << 20: "1 MB", 1288490189: "1.2 GB", 1<<30 - 1: "1 GB", 150_001: "146.5 KB", 3 << 40: "3 TB", 1<<62 + 1: "4096 PB",
	} {
		if got := controller.SizeText(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 42 * time.Second: "42s", 41600 * time.Millisecond: "42s", 59900 * time.Millisecond: "1m", 210 * time.Second: "3.5m", 72 * time.Minute: "1.2h", 3599 * time.Second: "1h", -time.Second: "0s", 26 * time.Hour: "26h",
	} {
		if got := controller.SpanText(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
	for status, want := range map[string]controller.Badge{
		"completed": {Label: "Completed", Colour: "green", Icon: "check-circle"}, "running": {Label: "Running", Colour: "blue", Icon: "arrow-path"},
		"failed": {Label: "Failed", Colour: "red", Icon: "x-circle"}, "pending": {Label: "Pending", Colour: "yellow", Icon: "clock"},
	} {
		message := "the password was refused"
		b := controller.Backup{Status: status, DatabaseType: "sqlite", DatabaseName: "/srv/app.db", Type: controller.TypePreDeploy, ErrorMessage: &message}
		b.Show()
		if b.Display.Status != want || b.Display.Engine != "SQLite" || b.Display.FileName != "app" || b.Display.Type != "Pre-deploy" || b.Display.Size != "" || b.Display.Message != message {
			t.Errorf("%s: %+v", status, b.Display)
		}
	}
	at := time.Date(2026, 3, 4, 5, 6, 0, 0, time.UTC)
	b := controller.Backup{VerifiedAt: &at, Health: controller.HealthCorrupt}
	b.Show()
	if s := b.Display.Shield; s.Colour != "green" || s.Icon != "shield-check" || s.Label != "Verified at 2026-03-04 05:06 UTC" || b.Display.Health == nil || b.Display.Health.Colour != "red" {
		t.Errorf("%+v", b.Display)
	}
}
