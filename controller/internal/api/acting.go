package api

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

const (
	maxActingList = 16 << 10 // bytes of one header
	actingAll     = "*"
)

const actingHint = "send " + body.ActingUser + ", " + body.ActingPermissions + " and " + body.ActingProjects + " with each request"

func actingParameters() []*huma.Param {
	text := func(maxLength int) *huma.Schema { return &huma.Schema{Type: huma.TypeString, MaxLength: &maxLength} }
	return []*huma.Param{
		{Name: body.ActingUser, In: "header", Schema: text(maxActingUser), Description: "The user on whose behalf the token's holder asks, for the audit log; a token of kind panel needs it"},
		{Name: body.ActingPermissions, In: "header", Schema: text(maxActingList), Description: "That user's permissions, parted by commas, or *: no more than these and the token's are in force"},
		{Name: body.ActingProjects, In: "header", Schema: text(maxActingList), Description: "That user's projects, slugs or external ids parted by commas, or *: no more than these and the token's are seen"},
	}
}

// actingFor reads the headers that name the user of a panel. What is not there is nil.
func actingFor(h http.Header) (acting controller.Acting, err error) {
	if acting.User, err = actingUser(h.Values(body.ActingUser)); err != nil {
		return acting, err
	}
	permissions, all, err := actingList(h, body.ActingPermissions)
	if err != nil {
		return acting, err
	}
	if acting.Permissions = permissions; all {
		acting.Permissions = controller.Permissions
	}
	if permissions != nil {
		if acting.Permissions, err = controller.NormalPermissions(body.ActingPermissions, permissions); err != nil {
			return acting, err
		}
	}
	acting.Projects, acting.AllProjects, err = actingList(h, body.ActingProjects)
	return acting, err
}

// actingList is one header's list; nil if the header is not there.
func actingList(h http.Header, name string) (list []string, all bool, err error) {
	values := h.Values(name)
	switch {
	case len(values) == 0:
		return nil, false, nil
	case len(values) > 1:
		return nil, false, controller.Invalid(name, "is there %d times; send one header, with commas", len(values))
	case len(values[0]) > maxActingList:
		return nil, false, controller.Invalid(name, "has %d bytes; at most %d are allowed", len(values[0]), maxActingList)
	case strings.TrimSpace(values[0]) == actingAll:
		return nil, true, nil
	}
	list = []string{}
	for part := range strings.SplitSeq(values[0], ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		one, err := url.PathUnescape(part)
		if err != nil || len(one) > 500 || checkText(reflect.ValueOf(one), name) != nil {
			return nil, false, controller.Invalid(name, "%.100q is not percent-encoded text of at most 500 bytes", part)
		}
		if one == actingAll {
			return nil, false, controller.Invalid(name, "has * beside others; * is all, and stands alone")
		}
		list = append(list, one)
	}
	if len(list) > controller.MaxProjectRefs {
		return nil, false, controller.Invalid(name, "names %d; at most %d are allowed", len(list), controller.MaxProjectRefs)
	}
	return list, false, nil
}

// act is the token's holder as limited to the user of the panel: what both may do, where both may. A panel that names nobody may do
// nothing; one that names a part of it made a mistake.
func (a *API) act(ctx context.Context, actor controller.Actor, acting controller.Acting) (controller.Actor, error) {
	actor.OnBehalfOf = acting.User
	named := acting.Projects != nil || acting.AllProjects
	if actor.TokenKind == controller.TokenPanel {
		if acting.User == "" && acting.Permissions == nil && !named {
			actor.Permissions, actor.Scope = nil, controller.Scope{}
			return actor, nil
		}
		for _, missing := range []struct {
			name string
			is   bool
		}{{body.ActingUser, acting.User == ""}, {body.ActingPermissions, acting.Permissions == nil}, {body.ActingProjects, !named}} {
			if missing.is {
				return actor, controller.Invalid(missing.name, "is missing: the token %q acts for users of a panel", actor.Name).WithHint(actingHint)
			}
		}
	}
	if acting.Permissions != nil {
		actor.Permissions = slices.DeleteFunc(slices.Clone(actor.Permissions), func(p string) bool { return !slices.Contains(acting.Permissions, p) })
	}
	if acting.Projects != nil {
		scope, err := a.opt.Store.ActingProjects(ctx, actor.Scope, acting.Projects)
		if err != nil {
			return actor, err
		}
		actor.Scope = actor.Scope.Narrow(scope)
	}
	return actor, nil
}

// lacking is the refusal of an operation for want of a permission.
func lacking(actor controller.Actor, permission string) error {
	switch {
	case actor.UserID != 0:
		return controller.Errorf(controller.EForbidden, "you lack the permission %s", permission).WithHint("ask whoever manages the users")
	case actor.TokenKind == controller.TokenPanel && actor.OnBehalfOf == "":
		return controller.Errorf(controller.EForbidden, "the token %q acts for users of a panel, the request names none; it would need the permission %s", actor.Name, permission).WithHint(actingHint)
	case actor.OnBehalfOf != "":
		return controller.Errorf(controller.EForbidden, "the token, or the user that it acts for, lacks the permission %s", permission)
	default:
		return controller.Errorf(controller.EForbidden, "the token lacks the permission %s", permission)
	}
}

func whoami(actor controller.Actor) body.Whoami {
	w := body.Whoami{
		Kind: actor.TokenKind, TokenID: actor.TokenID, UserID: actor.UserID, Name: strings.TrimPrefix(actor.Name, controller.UserPrefix),
		ActingUser: actor.OnBehalfOf, AllProjects: actor.Scope.All,
		Permissions: append([]string{}, actor.Permissions...), Projects: append([]int64{}, actor.Scope.Projects...),
	}
	if actor.UserID != 0 {
		w.Kind = "user"
	}
	return w
}
