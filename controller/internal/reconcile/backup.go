package reconcile

import (
	"fmt"
	"slices"
	"strings"

	"devflowbackup/controller"
	"devflowbackup/shared/wire"
)

// state is what was seen of an object that the catalog knows.
type state int

const (
	unseen   state = iota // not listed
	right                 // as it was written
	differs               // of another size or with another ETag
	archived              // to be brought back before it can be read
	gone                  // the store says so itself
	untold                // the store did not tell
)

// sighting is an object that the catalog knows, and what was seen of it.
type sighting struct {
	known controller.KnownObject
	state state
	size  int64
	etag  string
	class string
	err   error // with untold
}

// look takes what the listing says.
func (s *sighting) look(o controller.ListedObject) {
	s.see(o.Size, o.ETag, o.Archived)
	s.class = o.Class
}

func (s *sighting) see(size int64, etag string, inArchive bool) {
	s.size, s.etag = size, strings.Trim(etag, `"`)
	switch {
	case size != s.known.Size || s.known.ETag != "" && s.etag != "" && s.etag != s.known.ETag:
		s.state = differs
	case inArchive:
		s.state = archived
	default:
		s.state = right
	}
}

// doubtful tells whether the listing alone does not decide.
func (s *sighting) doubtful() bool {
	return s.state == differs || s.state == unseen && s.known.Settled || s.state == right && s.known.Health == controller.HealthArchived
}

// asked takes what HEAD says.
func (s *sighting) asked(o controller.StoredObject, err error) {
	switch {
	case err == nil:
		s.see(o.StoredSize, o.ETag, o.Archived)
	case wire.HasCode(err, wire.CodeMissing):
		s.state = gone
	case wire.HasCode(err, wire.CodeForeignObject):
		s.state, s.size, s.etag = differs, 0, ""
	default:
		s.state, s.err = untold, err
	}
}

// backup is what was seen of one backup's objects.
type backup struct {
	id       int64
	health   string
	noted    bool
	settled  bool
	listed   bool   // an object of it was seen
	manifest string // its key
	gone     []sighting
	differs  []sighting
	archived []sighting
	untold   error
}

func (b *backup) add(s sighting) {
	if s.known.Object == controller.ObjectManifest {
		b.manifest = s.known.Key
	}
	switch s.state {
	case unseen: // it is younger than the listing
	case right:
		b.listed = true
	case differs:
		b.listed = true
		b.differs = append(b.differs, s)
	case archived:
		b.listed = true
		b.archived = append(b.archived, s)
	case gone:
		b.gone = append(b.gone, s)
	case untold:
		b.untold = fmt.Errorf("look at %s: %w", s.known.Key, s.err)
	}
}

// only tells whether nothing but one object is not as it should be.
func (b *backup) only(object string, in state) bool {
	return in == gone && len(b.gone) == 1 && b.gone[0].known.Object == object && len(b.differs) == 0 && b.untold == nil
}

// verdict is the health of the backup, and why and what to do where it is not ok, or where something beside its artifact is gone. The
// place is that of a storage.
func (b *backup) verdict(place, storage string) (health, reason string) {
	isArtifact := func(s sighting) bool { return s.known.Object == wire.ObjectArtifact }
	switch {
	case slices.ContainsFunc(b.gone, isArtifact):
		return controller.HealthMissing, fmt.Sprintf("its artifact is gone from %s: there is no %s; put it back, if somebody has it, or where the bucket keeps versions remove the delete marker, "+
			"and the next inventory sees it; else make a new backup", place, b.gone[slices.IndexFunc(b.gone, isArtifact)].known.Key)
	case len(b.differs) > 0:
		s := b.differs[0]
		return controller.HealthCorrupt, fmt.Sprintf("its %s in %s is not the one that was written: %s; find out who wrote there, and make a new backup", s.known.Object, place, s.difference())
	case len(b.archived) > 0:
		s := b.archived[0]
		class := "an archive"
		if s.class != "" {
			class = "the class " + s.class
		}
		return controller.HealthArchived, fmt.Sprintf("its %s lies in %s of %s and has to be brought back before it can be read: ask the store for it (on AWS `aws s3api restore-object --key %s`), "+
			"then have the storage looked at with `devflowctl storage inventory %s --now`", s.known.Object, class, place, s.known.Key, storage)
	case len(b.gone) > 0: // the database can be had back without them
		names := make([]string, len(b.gone))
		for i, s := range b.gone {
			names[i] = s.known.Object
		}
		return controller.HealthOK, fmt.Sprintf("the artifact is there, but its %s is gone from %s: there is no %s; a restore is not compared with what was backed up, if that was the fingerprint",
			strings.Join(names, " and its "), place, b.gone[0].known.Key)
	}
	return controller.HealthOK, ""
}

func (s sighting) difference() string {
	if s.size != s.known.Size {
		return fmt.Sprintf("%s has %d bytes, not %d", s.known.Key, s.size, s.known.Size)
	}
	return fmt.Sprintf("%s has the ETag %.100q, not %.100q", s.known.Key, s.etag, s.known.ETag)
}
