package sqlite

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"devflowbackup/shared/wire"
)

// rule is one entry of the allow-list, by components.
type rule struct {
	text  string
	parts []string
}

func parseRule(text string) (rule, error) {
	switch {
	case strings.ContainsRune(text, 0):
		return rule{}, errors.New("it holds a zero byte")
	case !filepath.IsAbs(text) || filepath.Clean(text) != text:
		return rule{}, errors.New("give an absolute path without . and .. and doubled slashes")
	case text == "/":
		return rule{}, errors.New("give a directory below the root")
	}
	r := rule{text, components(text)}
	for _, part := range r.parts {
		if _, err := filepath.Match(part, ""); err != nil {
			return rule{}, fmt.Errorf("the pattern %q is not complete: %w", part, err)
		}
	}
	return r, nil
}

// components splits an absolute, clean path.
func components(path string) []string { return strings.Split(path[1:], "/") }

// literal tells whether a component of a rule has no pattern in it.
func literal(part string) bool { return !strings.ContainsAny(part, `*?[\`) }

// pattern tells whether the rule may stand for several paths.
func (r rule) pattern() bool {
	return slices.ContainsFunc(r.parts, func(part string) bool { return !literal(part) })
}

// covers tells whether the rule is the path, or a directory in which the path lies not too deep.
func (r rule) covers(path string) bool {
	parts := components(path)
	if len(parts) < len(r.parts) || len(parts) > len(r.parts)+1+maxDepth {
		return false
	}
	for i, pattern := range r.parts {
		if ok, err := filepath.Match(pattern, parts[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// listed tells whether the path is one that the configuration lists.
func (e *Engine) listed(path string) bool {
	return slices.ContainsFunc(e.rules, func(r rule) bool { return r.covers(path) })
}

// checkListed refuses a path that the configuration does not list.
func (e *Engine) checkListed(path string) error {
	if e.listed(path) {
		return nil
	}
	return wire.Failf(wire.CodeNotAllowed, "the agent's configuration does not list the path %q", path).
		WithHint("add the file or its directory to paths of the instance %q; databases lie at most %d directories deep in a listed one", e.cfg.Name, maxDepth)
}

// checkBackup refuses a name that cannot or may not be backed up.
func (e *Engine) checkBackup(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if err := e.checkListed(name); err != nil {
		return err
	}
	if !e.included(name) {
		return wire.Failf(wire.CodeNotAllowed, "the agent's configuration does not allow a backup of database %q", name).
			WithHint("look at include and exclude of the instance %q", e.cfg.Name)
	}
	return nil
}

// included tells whether include and exclude let a listed path be backed up.
func (e *Engine) included(path string) bool {
	fits := func(pattern string) bool { return match(pattern, path) }
	return !ours(path) && !slices.ContainsFunc(e.cfg.Exclude, fits) &&
		(len(e.cfg.Include) == 0 || slices.ContainsFunc(e.cfg.Include, fits))
}

// match is a pattern with * for any text and ? for any character; nothing else is special.
func match(pattern, name string) bool {
	p, n := []rune(pattern), []rune(name)
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(n) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && (p[i] == '?' || p[i] == n[j]):
			i++
			j++
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i] == '*' {
		i++
	}
	return i == len(p)
}
