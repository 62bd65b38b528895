package artifact_test

import (
	"testing"
	"time"

	"devflowbackup/shared/artifact"
)

// Every pair has a suffix of its own, and a key with it is told apart from every other.
func TestCodecOf(t *testing.T) {
	all := artifact.Codecs()
	if len(all) != 9 {
		t.Fatalf("%d pairs of codecs: %+v", len(all), all)
	}
	seen := map[string]bool{}
	for _, c := range all {
		if s := c.Suffix(); seen[s] {
			t.Errorf("suffix %q twice", s)
		} else {
			seen[s] = true
		}
		for _, database := range []string{"shop", "odd.zst.age", "a.enc"} {
			for _, ext := range []string{"dump", "sql", "sqlite"} {
				key := artifact.Key("p", time.Unix(0, 0), artifact.FileName(database, time.Unix(0, 0), "abcdefghijklmnop", ext, c))
				if got := artifact.CodecOf(key); !got.Equal(c) {
					t.Errorf("%s is taken for %+v", key, got)
				}
			}
		}
	}
}

func TestAttemptIDOf(t *testing.T) {
	for _, c := range artifact.Codecs() {
		for _, database := range []string{"shop", "my_shop.v2", "_", "a_abcdefghijklmnop.dump"} {
			id := artifact.NewAttemptID()
			key := artifact.Key("p_x.y", time.Unix(0, 0), artifact.FileName(database, time.Unix(0, 0), id, "dump", c))
			for _, name := range []string{key, artifact.FingerprintKey(key, c), artifact.GlobalsKey(key, c), artifact.ManifestKey(key)} {
				if got, err := artifact.AttemptIDOf(name); err != nil || got != id {
					t.Errorf("%s: %q, %v", name, got, err)
				}
			}
		}
	}
	for _, name := range []string{"", "shop", "shop.dump", "shop_2025-01-02_030405_short.dump", "shop_2025-01-02_030405_ABCDEFGHIJKLMNOP.dump", "x_abcdefghijklmnop"} {
		if id, err := artifact.AttemptIDOf(name); err == nil {
			t.Errorf("%q has the attempt id %q", name, id)
		}
	}
}
