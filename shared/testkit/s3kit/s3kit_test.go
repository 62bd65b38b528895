package s3kit_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"syscall"
	"testing"
	"time"

	"devflowbackup/shared/testkit/s3kit"
)

func put(t *testing.T, s *s3kit.Server, key, body string) {
	t.Helper()
	resp, err := s.Do(t.Context(), http.MethodPut, "/"+s.Bucket+"/"+key, nil, nil, []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("put %s: %s: %s", key, resp.Status, b)
	}
}

func TestServer_PresignedThroughProxy(t *testing.T) {
	s := s3kit.Start(t)
	p := s3kit.StartProxy(t, s)
	s2 := *s3copy(s, p.Endpoint)
	key := "/" + s.Bucket + "/dir/a b+ü.txt"
	for _, from := range []string{s.Endpoint, p.Endpoint} {
		s2.Endpoint = from
		u := s2.Presign(http.MethodPut, key, nil, nil, time.Minute)
		req, _ := http.NewRequestWithContext(t.Context(), http.MethodPut, u, bytes.NewReader([]byte("hello")))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("presigned put by %s: %s: %s", from, resp.Status, b)
		}
	}
	if got := p.Count("PutObject"); got != 1 {
		t.Fatalf("proxy counted %d puts, want 1", got)
	}
	if _, err := os.Stat(s.ObjectPath(s.Bucket, "dir/a b+ü.txt")); err != nil {
		t.Fatal(err)
	}
}

// s3copy makes a client view of s at another address.
func s3copy(s *s3kit.Server, endpoint string) *s3kit.Server {
	return &s3kit.Server{Endpoint: endpoint, Region: s.Region, AccessKey: s.AccessKey, SecretKey: s.SecretKey, Bucket: s.Bucket}
}

func TestServer_DeniedAndCorrupt(t *testing.T) {
	s := s3kit.Start(t)
	put(t, s, "obj", "hello")
	if err := s.CreateUser(t.Context(), "other", "othersecret"); err != nil {
		t.Fatal(err)
	}
	other := s3copy(s, s.Endpoint)
	other.AccessKey, other.SecretKey = "other", "othersecret"
	resp, err := other.Do(t.Context(), http.MethodGet, "/"+s.Bucket+"/obj", nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Fatalf("other account reads: %s, want 403", resp.Status)
	}
	if err := s.CorruptObject(s.Bucket, "obj", -1); err != nil {
		t.Fatal(err)
	}
	resp, err = s.Do(t.Context(), http.MethodGet, "/"+s.Bucket+"/obj", nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) == "hello" || string(b[:4]) != "hell" {
		t.Fatalf("corrupted object reads %q", b)
	}
}

func TestFaultProxy_Actions(t *testing.T) {
	s := s3kit.Start(t)
	p := s3kit.StartProxy(t, s)
	put(t, s, "obj", "0123456789")
	c := s3copy(s, p.Endpoint)
	get := func() (int, string, error) {
		resp, err := c.Do(t.Context(), http.MethodGet, "/"+s.Bucket+"/obj", nil, nil, nil)
		if err != nil {
			return 0, "", err
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}
	for _, tc := range []struct {
		name   string
		action s3kit.Action
		status int
		body   string
		broken bool
	}{
		{"status", s3kit.Status(503, "SlowDown"), 503, "", false},
		{"reset", s3kit.ResetDownload(4), 200, "", true},
		{"truncate", s3kit.TruncateDownload(4), 200, "0123", false},
		{"corrupt", s3kit.CorruptDownload(1), 200, "0\xce23456789", false},
		{"drop", s3kit.DropReply(), 0, "", true},
		{"delay", s3kit.Delay(time.Millisecond), 200, "0123456789", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := p.Inject("GetObject", 1, tc.action)
			status, body, err := get()
			if r.Fired() != 1 {
				t.Fatal("rule did not fire")
			}
			if status != tc.status || (err != nil) != tc.broken || (tc.body != "" && body != tc.body) {
				t.Fatalf("got %d %q %v", status, body, err)
			}
			if status, body, err := get(); status != 200 || body != "0123456789" || err != nil {
				t.Fatalf("after the fault: %d %q %v", status, body, err)
			}
			if r.Fired() != 1 {
				t.Fatal("rule fired more often than Times")
			}
		})
	}
	t.Run("probability", func(t *testing.T) {
		r := p.Add(&s3kit.Rule{Match: s3kit.Op("GetObject"), Prob: 0.5, Action: s3kit.Status(500, "InternalError")})
		bad := 0
		for range 60 {
			if status, _, _ := get(); status == 500 {
				bad++
			}
		}
		if bad != r.Fired() || bad < 15 || bad > 45 {
			t.Fatalf("%d of 60 failed, rule fired %d", bad, r.Fired())
		}
	})
}

func TestServer_CloseEndsProcess(t *testing.T) {
	s, err := s3kit.Launch(t.Context(), s3kit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pid := s.PID()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Fatalf("process %d after Close: %v", pid, err)
	}
	if _, err := os.Stat(s.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("directory after Close: %v", err)
	}
}

func TestLaunch_KeepsDirectory(t *testing.T) {
	opt := s3kit.Options{Dir: t.TempDir(), AccessKey: "a", SecretKey: "b", Bucket: "keep", Versioned: true}
	for i := range 2 {
		s, err := s3kit.Launch(t.Context(), opt)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			put(t, s, "obj", "hello")
		} else {
			resp, err := s.Do(context.Background(), http.MethodGet, "/keep/obj", nil, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			b, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(b) != "hello" {
				t.Fatalf("second start reads %q", b)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
