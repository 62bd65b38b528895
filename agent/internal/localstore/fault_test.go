package localstore_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"

	"devflowbackup/agent/internal/localstore"
	"devflowbackup/agent/internal/testkit/mounts"
	"devflowbackup/shared/wire"
)

// FAULTS 82: a disk that fills up at each megabyte of a backup fails it as disk_full, and nothing is left.
func TestStore_DiskFull(t *testing.T) {
	const total = 6 << 20
	content := random(total)
	for full := int64(1 << 20); full < total; full += 1 << 20 {
		t.Run(fmt.Sprintf("after %d MiB", full>>20), func(t *testing.T) {
			dir := mounts.Tmpfs(t, full)
			s := localstore.New(localstore.Options{Dir: dir})
			must(t, s.Make())
			w, err := s.Create(key)
			must(t, err)
			var werr error
			for c := range slices.Chunk(content, 64<<10) {
				if _, werr = w.Write(c); werr != nil {
					break
				}
			}
			wantCode(t, werr, wire.CodeDiskFull)
			must(t, w.Abort())
			if got := onlyFiles(t, dir); len(got) != 0 {
				t.Fatalf("left are %q", got)
			}
		})
	}
}

// A backup stops before less than min_free is left, whatever the size of its writes.
func TestStore_MinFree(t *testing.T) {
	const disk, least = 200 << 20, 120 << 20
	for _, chunk := range []int{64 << 10, 4 << 20, 70 << 20} {
		t.Run(fmt.Sprint(chunk), func(t *testing.T) {
			dir := mounts.Tmpfs(t, disk)
			s := localstore.New(localstore.Options{Dir: dir, MinFree: least})
			w, err := s.Create(key)
			must(t, err)
			buf := make([]byte, chunk)
			for {
				if _, err = w.Write(buf); err != nil {
					break
				}
			}
			wantCode(t, err, wire.CodeDiskFull)
			if !strings.Contains(err.Error(), "min_free") {
				t.Errorf("it does not say why: %v", err)
			}
			u := s.Usage()
			if u.FreeBytes < least || u.FreeBytes > least+int64(chunk)+1<<20 {
				t.Errorf("%d MiB are left", u.FreeBytes>>20)
			}
			_, err = localstore.New(localstore.Options{Dir: dir, MinFree: disk}).Create(side)
			wantCode(t, err, wire.CodeDiskFull)
			must(t, w.Abort())
			if got := onlyFiles(t, dir); len(got) != 0 {
				t.Fatalf("left are %q", got)
			}
		})
	}
}

// FAULTS 82: read-only from the start, and from the middle on.
func TestStore_ReadOnly(t *testing.T) {
	dir := mounts.Tmpfs(t, 8<<20)
	s := localstore.New(localstore.Options{Dir: dir})
	o := put(t, s, key, random(1<<20))
	mounts.ReadOnly(t, dir, true)
	wantCode(t, s.Make(), wire.CodeDiskFull)
	_, err := s.Create(side)
	wantCode(t, err, wire.CodeDiskFull)
	wantCode(t, s.Commit([]localstore.Object{o}, nil), wire.CodeDiskFull)
	wantCode(t, s.WriteFile(key+localstore.ManifestSuffix, []byte("{}")), wire.CodeDiskFull)
	wantCode(t, s.Delete(key), wire.CodeDiskFull)
	if u := s.Usage(); !strings.Contains(u.Error, "read-only") {
		t.Errorf("%+v", u)
	}
	steps := s.Probe()
	if last := steps[len(steps)-1]; last.OK || last.Name != "write" {
		t.Errorf("%+v", steps)
	}
	mounts.ReadOnly(t, dir, false)
	must(t, s.Commit([]localstore.Object{o}, nil)) // it goes on where it was
}

// fails is a file whose nth write, or whose sync or close, fails.
type fails struct {
	localstore.File
	write     int
	sync, end error
	err       error
	fired     *int
}

func (f *fails) Write(p []byte) (int, error) {
	if f.err != nil {
		if f.write--; f.write == 0 {
			*f.fired++
			n, _ := f.File.Write(p[:len(p)/2]) // a disk takes a part first
			return n, f.err
		}
	}
	return f.File.Write(p)
}

func (f *fails) Sync() error {
	if f.sync != nil {
		*f.fired++
		return f.sync
	}
	return f.File.Sync()
}

func (f *fails) Close() error {
	err := f.File.Close()
	if f.end != nil && err == nil {
		*f.fired++
		return f.end
	}
	return err
}

// FAULTS 82: errors of single writes, of the sync and of the close: the code says what it is, and nothing is left.
func TestStore_Errors(t *testing.T) {
	for name, tc := range map[string]struct {
		fault fails
		code  string
	}{
		"ENOSPC":     {fails{write: 3, err: syscall.ENOSPC}, wire.CodeDiskFull},
		"EDQUOT":     {fails{write: 1, err: syscall.EDQUOT}, wire.CodeDiskFull},
		"EFBIG":      {fails{write: 2, err: syscall.EFBIG}, wire.CodeDiskFull},
		"EIO":        {fails{write: 2, err: syscall.EIO}, wire.CodeDiskFull},
		"EROFS":      {fails{write: 2, err: syscall.EROFS}, wire.CodeDiskFull},
		"EPERM":      {fails{write: 2, err: syscall.EPERM}, wire.CodeNotAllowed},
		"sync EIO":   {fails{sync: syscall.EIO}, wire.CodeDiskFull},
		"sync full":  {fails{sync: syscall.ENOSPC}, wire.CodeDiskFull},
		"close full": {fails{end: syscall.EDQUOT}, wire.CodeDiskFull},
	} {
		t.Run(name, func(t *testing.T) {
			_, dir := store(t)
			fired := 0
			s := localstore.New(localstore.Options{Dir: dir, Wrap: func(_ string, f localstore.File) localstore.File {
				fault := tc.fault
				fault.File, fault.fired = f, &fired
				return &fault
			}})
			w, err := s.Create(key)
			must(t, err)
			for range 4 {
				if _, err = w.Write(random(100 << 10)); err != nil {
					break
				}
			}
			if err == nil {
				err = w.Close()
			}
			wantCode(t, err, tc.code)
			if fired != 1 {
				t.Fatalf("the fault fired %d times", fired)
			}
			var f *wire.Failure
			if !errors.As(err, &f) || f.Hint == "" || f.Retryable || !strings.Contains(f.Message, key) {
				t.Errorf("%+v", f)
			}
			_ = w.Abort()
			if got := onlyFiles(t, dir); len(got) != 0 {
				t.Fatalf("left are %q", got)
			}
			if tc.fault.write <= 1 {
				wantCode(t, s.WriteFile(key+localstore.ManifestSuffix, []byte("{}")), tc.code)
				if got := onlyFiles(t, dir); len(got) != 0 {
					t.Fatalf("left are %q", got)
				}
			}
		})
	}
}
