package controller

import (
	"fmt"
	"strings"
)

// Group is what people of a group of the provider may do.
type Group struct {
	Name        string
	Admin       bool
	Permissions []string
	Projects    []string // slugs and external ids
	AllProjects bool
}

// ParseGroup reads NAME=admin, NAME=PERMISSION+PERMISSION or NAME=*; with @PROJECT+PROJECT behind it the group is limited to these. The
// name may hold = and @: the last of each counts.
func ParseGroup(text string) (Group, error) {
	fail := func(format string, args ...any) (Group, error) {
		return Group{}, fmt.Errorf("%.200q: %s; use GROUP=admin, GROUP=view-backups+create-backups or GROUP=view-backups@project+project", text, fmt.Sprintf(format, args...))
	}
	i := strings.LastIndex(text, "=")
	if i < 1 {
		return fail("has no group and what it is granted")
	}
	g := Group{Name: strings.TrimSpace(text[:i]), AllProjects: true}
	what, where, limited := strings.Cut(text[i+1:], "@")
	if g.Name == "" {
		return fail("names no group")
	}
	switch what = strings.TrimSpace(what); what {
	case "":
		return fail("grants nothing")
	case "admin", "*":
		g.Admin = true
	default:
		list := strings.Split(what, "+")
		for j := range list {
			list[j] = strings.TrimSpace(list[j])
		}
		var err error
		if g.Permissions, err = NormalPermissions("permissions", list); err != nil {
			return fail("%v", err)
		}
	}
	if limited {
		g.AllProjects = false
		for p := range strings.SplitSeq(where, "+") {
			if p = strings.TrimSpace(p); p != "" {
				g.Projects = append(g.Projects, p)
			}
		}
		if len(g.Projects) == 0 {
			return fail("is limited to no project")
		}
	}
	return g, nil
}
