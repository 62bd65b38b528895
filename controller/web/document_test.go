package web_test

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"devflowbackup/controller/internal/api"
)

var writeTo = flag.String("write", "", "write the OpenAPI document that the console's types are made from to this file")

// TestDocument_Types: the types of the console are those of the API as it is. `make console-types` writes them anew.
func TestDocument_Types(t *testing.T) {
	t.Parallel()
	text, err := api.New(api.Options{Version: "v1"}).OpenAPI().MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if *writeTo != "" {
		if err := os.WriteFile(*writeTo, text, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	f, err := os.Open(filepath.Join("src", "api", "schema.d.ts"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	first, err := bufio.NewReader(f).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	if want := "// OpenAPI " + hex.EncodeToString(sum[:]); strings.TrimSpace(first) != want {
		t.Errorf("the console's types are not those of the API: they begin with %q, want %q\nrun: make console-types", strings.TrimSpace(first), want)
	}
}
