package notify_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/notify"
)

// The test's own program is the child that sends to services.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == notify.Command {
		if err := notify.Child(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const canary = "canary-5c1e9b"

// log is a log that is read.
type log struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// sender makes a Sender whose log has no canary at the end of the test.
func sender(t *testing.T, o notify.Options) (*notify.Sender, *log) {
	t.Helper()
	l := &log{}
	o.Log = hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: l})
	s, err := notify.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if strings.Contains(l.String(), "canary") {
			t.Errorf("a secret is in the log: %s", l)
		}
	})
	return s, l
}

// fails holds an error against what it shall say, and sees that it is one for people without a secret.
func fails(t *testing.T, err error, words ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error; want %q", words)
		return
	}
	var shown *controller.Error
	if !errors.As(err, &shown) {
		t.Errorf("%v is %T", err, err)
	}
	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error %q does not say %q", err, w)
		}
	}
	if strings.Contains(err.Error(), "canary") || len(err.Error()) > 1000 {
		t.Errorf("error shows too much: %v", err)
	}
}

var backupID = int64(4711)

func message() controller.Message {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	return controller.Message{
		UID: "0f3c2b1a-message", Severity: controller.SeverityCritical, Title: "Backups of shop fail", At: at, URL: "https://backup.example.com/alarms",
		Notices: []controller.MessageEntry{{
			ID: 7, Kind: controller.NoticeBackupFailing, Event: controller.NoticeOpened, Severity: controller.SeverityCritical, Title: "Backups of shop fail",
			Detail: "pg_dump ended with exit status 1", Project: "web", Server: "db-1", Database: "shop", BackupID: &backupID, At: at,
		}},
		Counts: []controller.MessageCount{{Kind: controller.NoticeBackupFailing, Event: controller.NoticeOpened, Count: 1}},
	}
}

// storm is a message that stands for many.
func storm() controller.Message {
	m := message()
	m.Title = "10,000 notices"
	for i := range 19 {
		n := m.Notices[0]
		n.ID, n.Title, n.Detail = int64(i+8), fmt.Sprintf("Backups of db%d fail", i), strings.Repeat("a long detail ", 20)
		m.Notices = append(m.Notices, n)
	}
	m.More = 9980
	m.Counts[0].Count = 10_000
	return m
}

// dns answers every question for an IPv4 address with the same ones, and every other with none.
func dns(t *testing.T, addrs ...string) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = conn.Close(); <-done })
	go func() {
		defer close(done)
		buf := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(buf)
			if err != nil {
				return
			}
			if n < 12 {
				continue
			}
			end := 12
			for end < n && buf[end] != 0 {
				end += int(buf[end]) + 1
			}
			end += 5 // the end of the name, type and class
			if end > n {
				continue
			}
			out := append([]byte{}, buf[:end]...)
			out[2], out[3] = 0x84, 0x00
			binary.BigEndian.PutUint16(out[4:], 1)
			clear(out[6:12])
			if binary.BigEndian.Uint16(out[end-4:]) == 1 {
				binary.BigEndian.PutUint16(out[6:], uint16(len(addrs)))
				for _, a := range addrs {
					ip := netip.MustParseAddr(a).As4()
					out = append(out, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
					out = append(out, ip[:]...)
				}
			}
			_, _ = conn.WriteTo(out, from)
		}
	}()
	return conn.LocalAddr().String()
}
