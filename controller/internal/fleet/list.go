package fleet

import (
	"context"
	"time"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// Objects opens the storage of a catalog row; of a local one, the backup directory of the server.
func (f *Fleet) Objects(ctx context.Context, storageID int64, holder controller.Server) (Objects, error) {
	return f.storage(ctx, storageID, holder)
}

// List asks the agent for a page. What is left of an unfinished backup is shown too, under its own name.
func (l local) List(ctx context.Context, prefix, next string) (controller.ListedPage, error) {
	r, err := l.do(ctx, wire.LocalOrder{Op: wire.LocalList, Key: prefix, After: next, Length: wire.MaxLocalList})
	if err != nil {
		return controller.ListedPage{}, err
	}
	page := controller.ListedPage{Objects: make([]controller.ListedObject, len(r.Entries))}
	for i, e := range r.Entries {
		page.Objects[i] = controller.ListedObject{Key: e.Key, Size: e.Size, ModifiedAt: time.Unix(e.ModifiedAt, 0).UTC()}
	}
	if r.More {
		if len(r.Entries) == 0 {
			return controller.ListedPage{}, wire.Failf(wire.CodeStorageUnavailable, "the agent on %s lists nothing and says that there is more", l.server.Name)
		}
		page.Next = r.Entries[len(r.Entries)-1].Key
	}
	return page, nil
}

// ListUploads finds none: the agent writes files of its own.
func (l local) ListUploads(context.Context, string, string) (controller.UploadPage, error) {
	return controller.UploadPage{}, nil
}
