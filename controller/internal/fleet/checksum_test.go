package fleet_test

import (
	"slices"
	"testing"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// An upload is completed with the checksum that its parts were ordered with, also when a probe has found another one since.
func TestFinish_checksumAsOrdered(t *testing.T) {
	k := start(t, nil)
	u := newUpload(t, k, "zstd", controller.EncryptionAge, nil)
	u.finishing.Checksum = wire.ChecksumMD5
	k.finish(u.finishing)
	k.finished("CompleteBackup")
	if !slices.ContainsFunc(k.bucket.opened, func(a controller.StorageAccess) bool { return a.ID == 6 && a.ChecksumMode == wire.ChecksumMD5 }) {
		t.Errorf("opened %+v", k.bucket.opened)
	}
}
