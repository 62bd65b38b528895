package api

import (
	"context"
	"net/http"

	"devflowbackup/controller"
	"devflowbackup/controller/internal/api/body"
)

// UsersIn is the cursor of the list of users, which is by name.
type UsersIn struct {
	After string `query:"after" maxLength:"100" doc:"Names behind it; the first if absent"`
	Limit int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"Rows of an answer"`
	NumberIn
	Search   string `query:"search" maxLength:"200" doc:"Part of the name or the display name, whatever its case"`
	Disabled string `query:"disabled" enum:"true,false" doc:"Only those who are disabled, or only those who are not"`
}

func (a *API) registerUsers() {
	manage := []string{controller.ManageTokens}
	store := a.opt.Store
	register(a, operation{id: "list-users", method: http.MethodGet, path: "/users", summary: "People who can sign in and reach no further than the one who asks, by name", tag: tagUsers, access: manage},
		func(ctx context.Context, in *UsersIn) (*bodyOut[body.Users], error) {
			f := controller.UserFilter{Search: in.Search, Disabled: flag(in.Disabled), After: in.After, Limit: in.Limit, NumberedPage: in.number()}
			rows, err := store.Users(ctx, actorOf(ctx), f)
			if err != nil {
				return nil, err
			}
			list := body.Users{Items: rows}
			if in.Page != 0 {
				total, err := store.CountUsers(ctx, actorOf(ctx), f)
				list.Numbered = in.numbered(total)
				return out(list, err)
			}
			if len(rows) >= in.Limit {
				list.NextAfter = &rows[len(rows)-1].Name
			}
			return out(list, nil)
		})
	register(a, operation{id: "create-user", audit: "user.create", method: http.MethodPost, path: "/users", summary: "Make a person who can sign in, with no more than the one who makes it has", tag: tagUsers, access: manage, creates: true}, a.createUser)
	register(a, operation{id: "get-user", method: http.MethodGet, path: "/users/{ref}", summary: "One user", tag: tagUsers, access: manage},
		func(ctx context.Context, in *refIn) (*tagged[controller.User], error) {
			return tag(store.User(ctx, actorOf(ctx), in.Ref))
		})
	register(a, operation{id: "update-user", audit: "user.update", method: http.MethodPatch, path: "/users/{ref}", summary: "Change what a user may do and where, or disable one", tag: tagUsers, access: manage, edits: true}, a.updateUser)
	register(a, operation{id: "set-password", audit: "user.password", method: http.MethodPut, path: "/users/{ref}/password", summary: "Give a user another password, and sign the user out everywhere", tag: tagUsers, access: manage, edits: true}, a.setPassword)
	register(a, operation{id: "end-user-sessions", audit: "user.sign-out", method: http.MethodDelete, path: "/users/{ref}/sessions", summary: "Sign a user out everywhere", tag: tagUsers, access: manage, status: http.StatusNoContent},
		func(ctx context.Context, in *refIn) (*answer, error) {
			return nil, store.EndUserSessions(ctx, actorOf(ctx), in.Ref)
		})
	register(a, operation{id: "delete-user", audit: "user.delete", method: http.MethodDelete, path: "/users/{ref}", summary: "Delete a user; the audit log keeps the name", tag: tagUsers, access: manage, edits: true, status: http.StatusNoContent},
		func(ctx context.Context, in *refIn) (*answer, error) {
			return nil, store.DeleteUser(ctx, actorOf(ctx), in.Ref)
		})
}

func (a *API) createUser(ctx context.Context, in *bodyIn[body.CreateUser]) (*tagged[controller.User], error) {
	b := in.Body
	spec := controller.UserSpec{
		Name: controller.UserName(b.Name), DisplayName: b.DisplayName, Admin: b.Admin, Permissions: b.Permissions, Projects: b.Projects,
	}
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	phc := ""
	if b.Password != "" {
		var err error
		if phc, err = a.hash(ctx, "password", spec.Name, b.Password); err != nil {
			return nil, err
		}
	}
	return tag(a.opt.Store.CreateUser(ctx, actorOf(ctx), spec, phc))
}

// hash makes the PHC string of a new password.
func (a *API) hash(ctx context.Context, field, user, password string) (string, error) {
	if err := controller.ValidPassword(field, user, password); err != nil {
		return "", err
	}
	return a.opt.SignIn.Passwords.Hash(ctx, password)
}

func (a *API) updateUser(ctx context.Context, in *refBodyIn[body.UpdateUser]) (*tagged[controller.User], error) {
	b := in.Body
	change := controller.UserChange{
		DisplayName: b.DisplayName, Admin: b.Admin, Permissions: b.Permissions, Projects: b.Projects, AllProjects: b.AllProjects, Disabled: b.Disabled,
	}
	if err := change.Validate(); err != nil {
		return nil, err
	}
	return tag(a.opt.Store.UpdateUser(ctx, actorOf(ctx), in.Ref, change))
}

func (a *API) setPassword(ctx context.Context, in *refBodyIn[body.SetPassword]) (*tagged[controller.User], error) {
	u, err := a.opt.Store.User(ctx, actorOf(ctx), in.Ref)
	if err != nil {
		return nil, err
	}
	phc, err := a.hash(ctx, "password", u.Name, in.Body.Password)
	if err != nil {
		return nil, err
	}
	return tag(a.opt.Store.SetPassword(ctx, actorOf(ctx), u.Name, phc))
}
