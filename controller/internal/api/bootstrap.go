package api

import (
	"errors"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"devflowbackup/controller"
)

// packageDownloads is how many packages are sent at once; more have to come again.
const packageDownloads = 32

// packageTypes are content types of packages, by how their names end.
var packageTypes = map[string]string{".deb": "application/vnd.debian.binary-package", ".rpm": "application/x-rpm", ".tar.gz": "application/gzip"}

// serveBootstrap adds what a bare host asks for, right under the root and without a token: none of it is secret. What the host trusts
// it by is in the command that was pasted there.
func (a *API) serveBootstrap() {
	file := func(id, path, summary string, contentTypes []string, params []*huma.Param, handle gin.HandlerFunc) {
		a.engine.GET(strings.ReplaceAll(path, "{file}", ":file"), handle)
		a.engine.HEAD(strings.ReplaceAll(path, "{file}", ":file"), handle)
		answer := func(text string) *huma.Response {
			content := map[string]*huma.MediaType{}
			for _, t := range contentTypes {
				content[t] = &huma.MediaType{Schema: &huma.Schema{Type: huma.TypeString, Format: "binary"}}
			}
			return &huma.Response{Description: text, Content: content}
		}
		op := &huma.Operation{
			OperationID: id, Method: http.MethodGet, Path: path, Summary: summary, Tags: []string{tagSystem}, Servers: []*huma.Server{{URL: "/"}}, Parameters: params,
			Extensions: map[string]any{ExtensionAccess: []string{accessPublic}},
			Responses:  map[string]*huma.Response{"200": answer(http.StatusText(http.StatusOK)), "500": {}},
		}
		if len(params) > 0 {
			op.Responses["206"] = answer(http.StatusText(http.StatusPartialContent))
			for _, status := range []int{http.StatusNotFound, http.StatusServiceUnavailable} {
				op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status)}
			}
		}
		a.huma.OpenAPI().AddOperation(op)
	}
	file("get-install-script", "/install.sh", "The script that an install command runs on a bare host", []string{"text/x-shellscript"}, nil, func(c *gin.Context) {
		a.opt.Log.Info("install script asked for", "request_id", requestID(c.Request.Context()), "remote", c.RemoteIP())
		c.Data(http.StatusOK, "text/x-shellscript; charset=utf-8", a.opt.Bootstrap.Script())
	})
	file("get-ca", "/ca.pem", "The certificate of the installation's authority", []string{"application/x-pem-file"}, nil, func(c *gin.Context) {
		c.Data(http.StatusOK, "application/x-pem-file", a.opt.Bootstrap.CA())
	})
	file("get-package", "/packages/{file}", "A package of the agent, or SHA256SUMS, which names them", slices.Concat(slices.Collect(maps.Values(packageTypes)), []string{"application/octet-stream", "text/plain"}),
		[]*huma.Param{{Name: "file", In: "path", Required: true, Description: "As SHA256SUMS names it, or that itself", Schema: &huma.Schema{Type: huma.TypeString}}}, a.sendPackage)
}

func (a *API) sendPackage(c *gin.Context) {
	name := c.Param("file")
	if name == "SHA256SUMS" {
		sums, err := a.opt.Bootstrap.Sums()
		if err != nil {
			a.refusePackage(c, err)
			return
		}
		c.Data(http.StatusOK, "text/plain; charset=utf-8", sums)
		return
	}
	select {
	case a.downloads <- struct{}{}:
		defer func() { <-a.downloads }()
	default:
		c.Header("Retry-After", "10")
		a.refusePackage(c, controller.Errorf(controller.EUnavailable, "%d packages are being sent", packageDownloads).WithHint("try again in 10 s"))
		return
	}
	f, sum, modified, err := a.opt.Bootstrap.Open(name)
	if err != nil {
		a.refusePackage(c, err)
		return
	}
	defer func() { _ = f.Close() }()
	contentType := "application/octet-stream"
	for suffix, is := range packageTypes {
		if strings.HasSuffix(name, suffix) {
			contentType = is
		}
	}
	c.Header("Content-Type", contentType)
	c.Header("ETag", strconv.Quote(sum))
	w := &patientWriter{ResponseWriter: c.Writer, ctl: http.NewResponseController(c.Writer)}
	start := time.Now()
	http.ServeContent(w, c.Request, "", modified, f) // with ranges and conditions
	a.opt.Log.Info("package sent", "request_id", requestID(c.Request.Context()), "package", name, "method", c.Request.Method, "status", c.Writer.Status(),
		"bytes", c.Writer.Size(), "duration", time.Since(start), "remote", c.RemoteIP())
}

// refusePackage answers as operations do.
func (a *API) refusePackage(c *gin.Context, err error) {
	if e := (*controller.Error)(nil); errors.As(err, &e) {
		refuse(c, e)
		return
	}
	a.opt.Log.Error("package", "request_id", requestID(c.Request.Context()), "err", err)
	writeProblem(c, problem(requestID(c.Request.Context()), err))
}

// patientWriter gives a receiver up that takes nothing for writeStall, however long the whole takes.
type patientWriter struct {
	http.ResponseWriter
	ctl     *http.ResponseController
	renewed time.Time
}

// Write hides the other ways in which a connection is written to.
func (w *patientWriter) Write(p []byte) (int, error) {
	if now := time.Now(); now.Sub(w.renewed) > renewEvery {
		_ = w.ctl.SetWriteDeadline(now.Add(writeStall))
		w.renewed = now
	}
	return w.ResponseWriter.Write(p)
}
