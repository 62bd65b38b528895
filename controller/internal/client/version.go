package client

import (
	"context"
	"net/http"
)

type (
	matchKey   struct{}
	versionKey struct{}
	headerKey  struct{}
)

// WithMatch binds what is changed or deleted under the context to a version, as an ETag tells it: what was changed meanwhile is refused
// with body.CodeChanged. An empty one binds nothing.
func WithMatch(ctx context.Context, version string) context.Context {
	if version == "" {
		return ctx
	}
	return context.WithValue(ctx, matchKey{}, version)
}

func matchOf(ctx context.Context) string {
	version, _ := ctx.Value(matchKey{}).(string)
	return version
}

// WithVersion has the version of what is read under the context written there, as WithMatch takes it; it stays as it is for what has none.
func WithVersion(ctx context.Context, version *string) context.Context {
	return context.WithValue(ctx, versionKey{}, version)
}

func tell(ctx context.Context, res *http.Response) {
	if version, ok := ctx.Value(versionKey{}).(*string); ok && res.Header.Get("ETag") != "" {
		*version = res.Header.Get("ETag")
	}
	if header, ok := ctx.Value(headerKey{}).(*http.Header); ok {
		*header = res.Header
	}
}
