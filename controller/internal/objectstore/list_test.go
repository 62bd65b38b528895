package objectstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"devflowbackup/controller/internal/objectstore"
	"devflowbackup/shared/testkit/s3kit"
)

// rewritten passes the reply on with its body changed.
func rewritten(change func(string) string) s3kit.Action {
	return func(x *s3kit.Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		text := change(string(b))
		resp.Header.Set("Content-Length", fmt.Sprint(len(text)))
		x.Reply(resp, strings.NewReader(text))
	}
}

func listAll(ctx context.Context, s *objectstore.Store, prefix string) (all []objectstore.ListedObject, pages int, err error) {
	for next := ""; ; {
		page, after, err := s.List(ctx, prefix, next)
		if err != nil {
			return all, pages, err
		}
		all = append(all, page...)
		pages++
		if after == "" {
			return all, pages, nil
		}
		next = after
	}
}

// A listing has each object of the prefix once, in the order of the keys' bytes, for one request in a thousand of them.
func TestList(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	want := []string{"p/backups/a b+c%2F&<>.x", "p/backups/ü"}
	for i := range 2*objectstore.PageSize + 3 {
		want = append(want, fmt.Sprintf("p/backups/2026/01/%02d/k%04d", i%7, i))
	}
	slices.Sort(want)
	keys := make(chan string)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for key := range keys {
				if _, err := w.store.Put(ctx, key, []byte(key), "text/plain"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for _, key := range append(slices.Clone(want), "p/backups0", "p/backup", "q/backups/x") {
		keys <- key
	}
	close(keys)
	wg.Wait()
	before := w.proxy.Count("ListObjectsV2")
	all, pages, err := listAll(ctx, w.store, "p/backups/")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range all {
		got = append(got, o.Key)
		if o.Size != int64(len(o.Key)) || len(o.ETag) != 32 || o.StorageClass != "" || o.Archived || time.Since(o.LastModified) > time.Hour {
			t.Fatalf("%+v", o)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%d objects, want %d", len(got), len(want))
	}
	if n := w.proxy.Count("ListObjectsV2") - before; pages != 3 || n != 3 {
		t.Fatalf("%d pages, %d requests", pages, n)
	}
	head, err := w.store.Head(ctx, all[0].Key)
	if err != nil || head.ETag != all[0].ETag || head.Size != all[0].Size || head.Archived {
		t.Fatalf("%+v, %v", head, err)
	}
}

// What lies in an archive shows in the listing, and so does what was brought back from it.
func TestList_Archived(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if _, err := w.store.Put(ctx, "k", []byte("x"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	class := func(class, more string) *s3kit.Rule {
		return w.proxy.Inject("ListObjectsV2", 1, rewritten(func(s string) string {
			s = strings.ReplaceAll(s, "<StorageClass>STANDARD</StorageClass>", "")
			return strings.Replace(s, "</Contents>", "<StorageClass>"+class+"</StorageClass>"+more+"</Contents>", 1)
		}))
	}
	status := func(going bool, until time.Time) string {
		return fmt.Sprintf("<RestoreStatus><IsRestoreInProgress>%v</IsRestoreInProgress><RestoreExpiryDate>%s</RestoreExpiryDate></RestoreStatus>", going, until.UTC().Format(time.RFC3339))
	}
	for _, tc := range []struct {
		class, more string
		archived    bool
	}{
		{"GLACIER", "", true},
		{"DEEP_ARCHIVE", "", true},
		{"GLACIER", status(true, time.Time{}), true},
		{"GLACIER", status(false, time.Now().Add(time.Hour)), false},
		{"DEEP_ARCHIVE", status(false, time.Now().Add(-time.Hour)), true},
		{"GLACIER_IR", "", false},
		{"STANDARD_IA", "", false},
	} {
		rule := class(tc.class, tc.more)
		all, _, err := w.store.List(ctx, "k", "")
		if err != nil || len(all) != 1 || all[0].Archived != tc.archived || all[0].StorageClass != tc.class || rule.Fired() != 1 {
			t.Errorf("%s %s: %+v, %v", tc.class, tc.more, all, err)
		}
	}
}

func TestHead_Archived(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if _, err := w.store.Put(ctx, "k", []byte("x"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		header   http.Header
		archived bool
	}{
		{http.Header{"X-Amz-Storage-Class": {"GLACIER"}}, true},
		{http.Header{"X-Amz-Storage-Class": {"DEEP_ARCHIVE"}, "X-Amz-Restore": {`ongoing-request="true"`}}, true},
		{http.Header{"X-Amz-Storage-Class": {"GLACIER"}, "X-Amz-Restore": {`ongoing-request="false", expiry-date="Fri, 21 Dec 2040 00:00:00 GMT"`}}, false},
		{http.Header{"X-Amz-Storage-Class": {"INTELLIGENT_TIERING"}, "X-Amz-Archive-Status": {"ARCHIVE_ACCESS"}}, true},
		{http.Header{"X-Amz-Storage-Class": {"INTELLIGENT_TIERING"}}, false},
		{http.Header{"X-Amz-Storage-Class": {"GLACIER_IR"}}, false},
	} {
		rule := w.proxy.Inject("HeadObject", 1, func(x *s3kit.Exchange) {
			resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
			if err != nil {
				x.Reset()
				return
			}
			defer resp.Body.Close()
			for k, v := range tc.header {
				resp.Header[k] = v
			}
			x.Reply(resp, http.NoBody)
		})
		info, err := w.store.Head(ctx, "k")
		if err != nil || info.Archived != tc.archived || rule.Fired() != 1 {
			t.Errorf("%v: %+v, %v", tc.header, info, err)
		}
	}
	rule := w.proxy.Inject("GetObject", 0, s3kit.Status(403, "InvalidObjectState"))
	_, err := w.store.Get(ctx, "k", 10)
	if wantErr(t, err, objectstore.ErrArchived, "bring it back"); rule.Fired() == 0 {
		t.Error("the fault did not fire")
	}
}

// A store that answers without the encoding that was asked for, and listings that fail, hang in a circle or break off.
func TestList_OddStores(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if _, err := w.store.Put(ctx, "p/a%41+b", []byte("x"), "text/plain"); err != nil {
		t.Fatal(err)
	}
	plain := w.proxy.Inject("ListObjectsV2", 1, rewritten(func(s string) string {
		s = strings.Replace(s, "<EncodingType>url</EncodingType>", "", 1)
		return strings.Replace(s, "p/a%2541%2Bb", "p/a%41+b", 1)
	}))
	all, next, err := w.store.List(ctx, "p/", "")
	if err != nil || next != "" || len(all) != 1 || all[0].Key != "p/a%41+b" || plain.Fired() != 1 {
		t.Fatalf("%+v, %q, %v", all, next, err)
	}
	denied := w.proxy.Inject("ListObjectsV2", 0, s3kit.Status(403, "AccessDenied"))
	_, _, err = w.store.List(ctx, "p/", "")
	if wantErr(t, err, objectstore.ErrDenied, "s3:ListBucket"); denied.Fired() == 0 {
		t.Error("the fault did not fire")
	}
	w.proxy.Reset()
	for name, change := range map[string]func(string) string{
		"no token": func(s string) string { return s },
		"the same token": func(s string) string {
			return strings.Replace(s, "</IsTruncated>", "</IsTruncated><NextContinuationToken>t</NextContinuationToken>", 1)
		},
	} {
		rule := w.proxy.Inject("ListObjectsV2", 1, rewritten(func(s string) string {
			return change(strings.Replace(s, "<IsTruncated>false", "<IsTruncated>true", 1))
		}))
		_, _, err := w.store.List(ctx, "p/", "t")
		if wantErr(t, err, objectstore.ErrUnavailable, "does not advance"); rule.Fired() == 0 {
			t.Errorf("%s: the fault did not fire", name)
		}
		w.proxy.Reset()
	}
	cut := w.proxy.Inject("ListObjectsV2", 0, func(x *s3kit.Exchange) {
		resp, err := x.RoundTrip(x.R.Context(), x.R.Body)
		if err != nil {
			x.Reset()
			return
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		resp.Header.Set("Content-Length", fmt.Sprint(len(b)/2))
		x.Reply(resp, bytes.NewReader(b[:len(b)/2]))
	})
	all, _, err = w.store.List(ctx, "p/", "")
	if err == nil || !errors.Is(err, objectstore.ErrUnavailable) || cut.Fired() == 0 {
		t.Fatalf("half a page is %+v, %v", all, err)
	}
}

func TestUploadPage(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	want := map[string]string{}
	for _, key := range []string{"p/backups/a", "p/backups/b", "q/c"} {
		id, err := w.store.CreateUpload(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(key, "p/") {
			want[key] = id
		}
	}
	page, next, err := w.store.UploadPage(ctx, "p/backups/", "")
	if err != nil || next != "" || len(page) != 2 {
		t.Fatalf("%+v, %q, %v", page, next, err)
	}
	for _, u := range page {
		if want[u.Key] != u.ID || time.Since(u.Initiated) > time.Hour {
			t.Errorf("%+v", u)
		}
	}
	var asked []string
	w.proxy.Add(&s3kit.Rule{Match: s3kit.Op("ListMultipartUploads"), Times: 1, Action: rewritten(func(s string) string {
		s = strings.Replace(s, "<IsTruncated>false", "<IsTruncated>true", 1)
		s = strings.Replace(s, "<NextKeyMarker></NextKeyMarker>", "<NextKeyMarker>p/backups/a</NextKeyMarker>", 1)
		return strings.Replace(s, "<NextUploadIdMarker></NextUploadIdMarker>", "<NextUploadIdMarker>"+want["p/backups/a"]+"</NextUploadIdMarker>", 1)
	})})
	w.proxy.Add(&s3kit.Rule{Match: s3kit.Op("ListMultipartUploads"), Action: func(x *s3kit.Exchange) {
		asked = append(asked, x.R.URL.Query().Get("key-marker"), x.R.URL.Query().Get("upload-id-marker"))
		// versitygw takes its own marker for a wrong one.
		_, _ = io.WriteString(x.W, `<ListMultipartUploadsResult><IsTruncated>false</IsTruncated><Upload><Key>p/backups/b</Key><UploadId>b</UploadId></Upload></ListMultipartUploadsResult>`)
	}})
	if _, next, err = w.store.UploadPage(ctx, "p/backups/", ""); err != nil || next == "" {
		t.Fatalf("%q, %v", next, err)
	}
	if page, next, err = w.store.UploadPage(ctx, "p/backups/", next); err != nil || next != "" || len(page) != 1 || page[0].Key != "p/backups/b" {
		t.Fatalf("%+v, %q, %v", page, next, err)
	}
	if !slices.Equal(asked, []string{"p/backups/a", want["p/backups/a"]}) {
		t.Errorf("asked with %q", asked)
	}
}
