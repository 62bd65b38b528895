package main

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"time"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// hints are what to do about a refusal, in the words of this program where the API's are about headers.
func (c *ctl) hints(ctx context.Context, p *body.Problem) []string {
	switch p.Code {
	case controller.EUnauthorized:
		return []string{c.signInHint(p)}
	case controller.EForbidden:
		return append(hintOf(p), "`devflowctl whoami` tells what you may do and where; --profile names another profile")
	case controller.ENotFound:
		return append(hintOf(p), c.nearest(ctx, p.Detail)...)
	case body.CodeChanged:
		return []string{"look at it with `show`, and give the version that it prints there by --if-match"}
	case body.CodeQuota:
		return append(hintOf(p), "`devflowctl project show` shows the limits, `devflowctl project update` changes them: --max-jobs-per-hour, --max-bytes-per-day")
	case body.CodeCSRF:
		return []string{"the session that the profile keeps is not this one's any more: `devflowctl login` again"}
	}
	return hintOf(p)
}

func hintOf(p *body.Problem) []string {
	if p.Hint == "" {
		return nil
	}
	return []string{p.Hint}
}

// signInHint says how to become someone whom the controller knows.
func (c *ctl) signInHint(p *body.Problem) string {
	if kept, err := c.loadProfile(); err == nil && kept != nil && c.asProfile() {
		name, named, _ := c.profileRef()
		again := "`devflowctl login " + kept.Server
		if kept.User != "" {
			again += " --user " + kept.User
		}
		if named {
			again += " --profile " + name
		}
		if kept.User != "" {
			return again + "` signs in again"
		}
		return again + "` keeps another token"
	}
	if strings.Contains(p.Detail, "password") {
		return "who has forgotten a password is given one by `devflowctl user passwd`, or by `devflow-controller user passwd` on the controller's host"
	}
	return "give a token that is valid; `devflowctl login` keeps one, or with --user signs in by name and password"
}

var missing = regexp.MustCompile(`^(project|server|storage|user) "(.+)" does not exist$`)

// hintTime is how long names that may have been meant are looked for.
const hintTime = 2 * time.Second

// nearest names what may have been meant by a name that does not exist.
func (c *ctl) nearest(ctx context.Context, detail string) []string {
	found := missing.FindStringSubmatch(detail)
	if found == nil {
		return nil
	}
	c.tries = 1
	cl, err := c.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, hintTime)
	defer cancel()
	names := namesOf(ctx, cl, found[1])
	near := nearNames(found[2], names)
	if len(near) == 0 {
		return nil
	}
	return []string{"did you mean " + strings.Join(near, " or ") + "?"}
}

// nearNames are at most three of the names that differ little from what was typed, the nearest first.
func nearNames(typed string, names []string) []string {
	type candidate struct {
		name     string
		distance int
	}
	typed = strings.ToLower(typed)
	most := max(len(typed)/3, 1)
	var near []candidate
	for _, name := range names {
		lower := strings.ToLower(name)
		d := distance(typed, lower, most)
		if len(typed) >= 3 && (strings.HasPrefix(lower, typed) || strings.HasPrefix(typed, lower)) {
			d = min(d, 1)
		}
		if d <= most {
			near = append(near, candidate{name, d})
		}
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.distance - b.distance })
	var out []string
	for _, n := range near[:min(len(near), 3)] {
		out = append(out, n.name)
	}
	return out
}

// distance is how many letters have to be put, taken, changed, or exchanged with the next one, to make b of a; most+1 stands for more than most.
func distance(a, b string, most int) int {
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d > most || -d > most {
		return most + 1
	}
	before, row, next := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i := range x {
		next[0] = i + 1
		for j := range y {
			cost := row[j]
			if x[i] != y[j] {
				cost++
			}
			next[j+1] = min(cost, row[j+1]+1, next[j]+1)
			if i > 0 && j > 0 && x[i] == y[j-1] && x[i-1] == y[j] {
				next[j+1] = min(next[j+1], before[j-1]+1)
			}
		}
		before, row, next = row, next, before
	}
	return row[len(y)]
}
