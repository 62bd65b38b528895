package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"devflowbackup/controller/internal/api/body"
)

var (
	corsMethods = "GET, POST, PUT, PATCH, DELETE"
	corsSends   = strings.Join([]string{
		"Authorization", "Content-Type", "If-Match", "Last-Event-ID", body.IdempotencyKey, body.RequestID, body.ActingUser, body.ActingPermissions, body.ActingProjects,
	}, ", ")
	corsReads = strings.Join([]string{
		"ETag", "Location", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", body.RequestID, body.IdempotentReplay,
	}, ", ")
)

// cors lets pages of the configured origins call the API by a token. A session's cookie is never taken from another origin.
func (a *API) cors(c *gin.Context) {
	if len(a.opt.Origins) == 0 {
		return
	}
	c.Writer.Header().Add("Vary", "Origin")
	origin := c.GetHeader("Origin")
	if origin == "" || !slices.Contains(a.opt.Origins, origin) || !strings.HasPrefix(c.Request.URL.Path, Prefix+"/") {
		return
	}
	c.Header("Access-Control-Allow-Origin", origin)
	c.Header("Access-Control-Expose-Headers", corsReads)
	if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
		c.Header("Access-Control-Allow-Methods", corsMethods)
		c.Header("Access-Control-Allow-Headers", corsSends)
		c.Header("Access-Control-Max-Age", "600")
		c.AbortWithStatus(http.StatusNoContent)
	}
}
