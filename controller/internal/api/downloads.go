package api

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
	"devflowbackup/shared/artifact"
)

const (
	downloadPrefix = "dfd_"
	// writeStall is how long a receiver may take nothing before it is given up: it holds an agent or a store open.
	writeStall = 2 * time.Minute
	// renewEvery is how often the deadline is set, at most.
	renewEvery = 10 * time.Second
)

// newDownloadToken is what a link to the controller is good for, and the hash that the catalog keeps.
func newDownloadToken() (token string, hash []byte) {
	token = downloadPrefix + randomText()
	return token, HashToken(token)
}

// linkIn is a request by a link. An operation without a token is limited by its address.
type linkIn struct {
	Token   string `path:"token" minLength:"1" maxLength:"200" doc:"Of the link"`
	Range   string `header:"Range" doc:"bytes=N-: from byte N on. Any other form is answered with the whole"`
	IfRange string `header:"If-Range" doc:"The ETag of what is there already: another one is answered with the whole"`
	remote  string
}

// Resolve is called by huma with the request.
func (in *linkIn) Resolve(ctx huma.Context) []error {
	in.remote = humagin.Unwrap(ctx).RemoteIP()
	return nil
}

func (a *API) registerDownloads() {
	register(a, operation{
		id: "create-download", audit: "backup.download", method: http.MethodPost, path: "/backups/{id}/download", summary: "A short-lived link to an object of a backup; written to the audit log",
		tag: tagBackups, access: []string{controller.DownloadBackups}, status: http.StatusCreated,
	}, a.createDownload)
	const link = "/downloads/{token}"
	register(a, operation{
		id: "download", method: http.MethodGet, path: link, summary: "What a link gives. It works once: the first request that bytes are sent for",
		tag: tagBackups, access: []string{accessPublic}, errors: []int{http.StatusConflict, http.StatusRequestedRangeNotSatisfiable}, also: http.StatusPartialContent,
	}, a.download)
	register(a, operation{
		id: "head-download", method: http.MethodHead, path: link, summary: "Size and checksum of what a link gives; does not use it up",
		tag: tagBackups, access: []string{accessPublic}, errors: []int{http.StatusConflict},
	}, a.headDownload)
	binary := map[string]*huma.MediaType{
		"application/octet-stream": {Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}},
		"application/json":         {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true, Description: "A manifest, byte for byte"}},
	}
	item := a.huma.OpenAPI().Paths[link]
	for _, status := range []int{http.StatusOK, http.StatusPartialContent} {
		item.Get.Responses[strconv.Itoa(status)].Content = binary
	}
}

func (a *API) createDownload(ctx context.Context, in *optionalIn[body.CreateDownload]) (*bodyOut[body.Download], error) {
	given, actor := in.body(), actorOf(ctx)
	r := controller.DownloadRequest{Backup: in.ID, Object: given.Object, Format: given.Format}
	if err := r.Validate(); err != nil {
		return nil, err
	}
	if r.Format == controller.FormatDump && !actor.Can(controller.RestoreBackups) {
		return nil, controller.Errorf(controller.EForbidden, "the token lacks the permission %s, which format dump asks for", controller.RestoreBackups).
			WithHint("download it with format stored, and decrypt it with the project's key")
	}
	b, err := a.opt.Store.Backup(ctx, actor, in.ID)
	if err != nil {
		return nil, err
	}
	if given.Via != body.ViaController && r.Format == controller.FormatStored && b.StorageDisk == controller.StorageS3 {
		d, err := a.opt.Store.Downloadable(ctx, actor, r)
		if err != nil {
			return nil, err
		}
		link, ok, err := a.opt.Fleet.DownloadURL(ctx, d)
		if err != nil {
			return nil, err
		}
		if ok {
			// Nobody gets the link before it is in the audit log.
			made, err := a.opt.Store.CreateDownload(ctx, actor, r, nil, controller.DownloadTTL)
			if err != nil {
				return nil, err
			}
			d.ExpiresAt = made.ExpiresAt
			return out(linkTo(d, link, true), nil)
		}
	}
	token, hash := newDownloadToken()
	d, err := a.opt.Store.CreateDownload(ctx, actor, r, hash, controller.DownloadTTL)
	if err != nil {
		return nil, err
	}
	return out(linkTo(d, strings.TrimSuffix(a.opt.PublicURL, "/")+Prefix+"/downloads/"+token, false), nil)
}

func linkTo(d controller.Download, url string, direct bool) body.Download {
	return body.Download{
		URL: url, Direct: direct, ExpiresAt: d.ExpiresAt, FileName: downloadName(d), Size: d.Size(), Checksum: d.Checksum(), Object: d.Object.Object, Format: d.Format,
	}
}

// downloadName is the object's own name, without the suffixes of codecs that were taken off.
func downloadName(d controller.Download) string {
	name := path.Base(d.Object.Key)
	if d.Format == controller.FormatDump {
		name = strings.TrimSuffix(name, artifact.Codec{Compression: d.Backup.Compression, Encryption: d.Backup.Encryption}.Suffix())
	}
	return name
}

// findLink looks a link up without using it. Unknown ones are counted as refused tokens are.
func (a *API) findLink(ctx context.Context, in *linkIn) (controller.Download, error) {
	if wait, ok := a.failures.allowed(in.remote); !ok {
		return controller.Download{}, controller.Errorf(body.CodeTooMany, "too many refused tokens from this address").WithHint("try again in %d s", int(wait.Seconds())+1)
	}
	d, err := a.opt.Store.FindDownload(ctx, HashToken(in.Token))
	if controller.ErrorCode(err) == controller.ENotFound {
		a.failures.count(in.remote)
	}
	return d, err
}

func (a *API) headDownload(ctx context.Context, in *linkIn) (*huma.StreamResponse, error) {
	d, err := a.findLink(ctx, in)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		c := humagin.Unwrap(hc)
		describe(c, d, 0)
		c.Status(http.StatusOK)
		c.Writer.WriteHeaderNow()
	}}, nil
}

func (a *API) download(ctx context.Context, in *linkIn) (*huma.StreamResponse, error) {
	d, err := a.findLink(ctx, in)
	if err != nil {
		return nil, err
	}
	from, partial := wantedRange(in, d)
	return &huma.StreamResponse{Body: func(hc huma.Context) {
		c := humagin.Unwrap(hc)
		if partial && from >= d.Size() {
			c.Header("Content-Range", fmt.Sprintf("bytes */%d", d.Size()))
			a.refuse(hc, controller.Errorf(body.CodeRange, "the object has %d bytes, %d were asked to be left out", d.Size(), from))
			return
		}
		w := &linkWriter{api: a, c: c, ctl: http.NewResponseController(c.Writer), hash: HashToken(in.Token), d: d, from: from, partial: partial}
		a.send(hc, w)
	}}, nil
}

var rangeFrom = regexp.MustCompile(`^bytes=([0-9]{1,18})-$`)

// wantedRange is where to begin. A Range of another form may be ignored (RFC 9110, 14.2), and so it is.
func wantedRange(in *linkIn, d controller.Download) (from int64, partial bool) {
	m := rangeFrom.FindStringSubmatch(strings.TrimSpace(in.Range))
	if m == nil || (in.IfRange != "" && in.IfRange != etag(d)) {
		return 0, false
	}
	from, err := strconv.ParseInt(m[1], 10, 64)
	return from, err == nil
}

func etag(d controller.Download) string { return strconv.Quote(d.Checksum()) }

// describe sets the headers of the content.
func describe(c *gin.Context, d controller.Download, from int64) {
	contentType := "application/octet-stream"
	if d.Object.Object == controller.ObjectManifest {
		contentType = "application/json"
	}
	c.Header("Content-Type", contentType)
	c.Header("Content-Length", strconv.FormatInt(d.Size()-from, 10))
	c.Header("Content-Disposition", fmt.Sprintf("attachment; filename=%q", downloadName(d))) // a name of a safe alphabet
	c.Header("Accept-Ranges", "bytes")
	c.Header("ETag", etag(d))
	if sum, err := hex.DecodeString(d.Checksum()); err == nil {
		c.Header("Digest", "sha-256="+base64.StdEncoding.EncodeToString(sum)) // of the whole, whatever part is sent
	}
}

// send streams the content. A failure before the first byte is a problem and leaves the link as it was; a later one breaks the
// connection, so that nobody takes a part for the whole.
func (a *API) send(hc huma.Context, w *linkWriter) {
	// The server's own limit is for requests that the catalog answers; before the first byte the whole object may have to be read.
	_ = w.ctl.SetWriteDeadline(time.Time{})
	ctx := w.c.Request.Context()
	err := a.opt.Fleet.StreamDownload(ctx, w.d, w.from, w)
	if err == nil {
		err = w.end()
	}
	switch {
	case err == nil:
	case !w.begun:
		a.refuse(hc, err)
	default:
		a.opt.Log.Warn("download broke off", "request_id", requestID(ctx), "backup_id", w.d.Backup.ID, "object", w.d.Object.Object, "bytes", w.n, "err", err)
		panic(http.ErrAbortHandler)
	}
}

// linkWriter uses the link up with the first byte that it sends.
type linkWriter struct {
	api     *API
	c       *gin.Context
	ctl     *http.ResponseController
	hash    []byte
	d       controller.Download
	from    int64
	partial bool

	begun   bool
	n       int64
	renewed time.Time
}

func (w *linkWriter) begin() error {
	if w.begun {
		return nil
	}
	if _, err := w.api.opt.Store.UseDownload(w.c.Request.Context(), w.hash); err != nil {
		return err
	}
	w.begun = true
	describe(w.c, w.d, w.from)
	status := http.StatusOK
	if w.partial {
		status = http.StatusPartialContent
		w.c.Header("Content-Range", fmt.Sprintf("bytes %d-%d/%d", w.from, w.d.Size()-1, w.d.Size()))
	}
	w.c.Status(status)
	w.c.Writer.WriteHeaderNow()
	return nil
}

var errTooMuch = errors.New("the source gave more bytes than the catalog knows")

func (w *linkWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if err := w.begin(); err != nil {
		return 0, err
	}
	if w.n+int64(len(p)) > w.d.Size()-w.from {
		return 0, errTooMuch
	}
	if now := time.Now(); now.Sub(w.renewed) > renewEvery {
		_ = w.ctl.SetWriteDeadline(now.Add(writeStall))
		w.renewed = now
	}
	n, err := w.c.Writer.Write(p)
	w.n += int64(n)
	if err != nil {
		return n, fmt.Errorf("send to %s: %w", w.c.RemoteIP(), err)
	}
	return n, nil
}

// end is called once the source has ended well.
func (w *linkWriter) end() error {
	if want := w.d.Size() - w.from; w.n != want {
		return fmt.Errorf("the source gave %d bytes of %d", w.n, want)
	}
	return w.begin() // of an empty object
}
