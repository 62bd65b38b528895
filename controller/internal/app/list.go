package app

import (
	"context"

	"devflowbackup/controller"
)

func (o objects) List(ctx context.Context, prefix, next string) (controller.ListedPage, error) {
	list, after, err := o.store.List(ctx, prefix, next)
	if err != nil {
		return controller.ListedPage{}, storageFailure(err)
	}
	page := controller.ListedPage{Objects: make([]controller.ListedObject, len(list)), Next: after}
	for i, l := range list {
		page.Objects[i] = controller.ListedObject{Key: l.Key, Size: l.Size, ETag: l.ETag, Archived: l.Archived, Class: l.StorageClass, ModifiedAt: l.LastModified}
	}
	return page, nil
}

func (o objects) ListUploads(ctx context.Context, prefix, next string) (controller.UploadPage, error) {
	list, after, err := o.store.UploadPage(ctx, prefix, next)
	if err != nil {
		return controller.UploadPage{}, storageFailure(err)
	}
	page := controller.UploadPage{Uploads: make([]controller.ListedUpload, len(list)), Next: after}
	for i, u := range list {
		page.Uploads[i] = controller.ListedUpload{Key: u.Key, UploadID: u.ID, BegunAt: u.Initiated}
	}
	return page, nil
}
