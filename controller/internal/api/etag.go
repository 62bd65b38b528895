package api

import (
	"net/http"
	"strings"

	"devflowbackup/controller"
)

const (
	maxIfMatch = 1000 // bytes
	maxTags    = 20
)

// tagged is an answer with the version of what it shows.
type tagged[T any] struct {
	ETag string `header:"ETag" doc:"The version of what is shown, for If-Match"`
	Body T
}

func tag[T interface{ Version() string }](v T, err error) (*tagged[T], error) {
	if err != nil {
		return nil, err
	}
	return &tagged[T]{ETag: `"` + v.Version() + `"`, Body: v}, nil
}

// ifMatch reads versions from If-Match; none if there is no such header. Weak tags are not versions.
func ifMatch(h http.Header) ([]string, error) {
	text := strings.Join(h.Values("If-Match"), ",")
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	var tags []string
	for one := range strings.SplitSeq(text, ",") {
		one = strings.TrimSpace(one)
		bare, quoted := strings.CutPrefix(one, `"`)
		bare, closed := strings.CutSuffix(bare, `"`)
		if one != "*" && (!quoted || !closed || bare == "" || strings.Contains(bare, `"`)) || len(text) > maxIfMatch || len(tags) == maxTags {
			return nil, controller.Invalid("If-Match", "%.100q is not an ETag as it was answered, such as \"0123abcd\"", one)
		}
		tags = append(tags, bare)
	}
	return tags, nil
}
