package config_test

import (
	"fmt"
	"strings"
	"testing"

	"devflowbackup/controller/internal/config"
	"devflowbackup/shared/testkit/reference"
)

// docs/reference-controller.md is what the code says: keys from the type, defaults from Default, bounds from what Validate checks,
// meanings from the sample.
func TestReference(t *testing.T) {
	sample, err := reference.Sample(config.Sample)
	if err != nil {
		t.Fatal(err)
	}
	remarks := make(map[string]string)
	for _, s := range sample {
		remarks[s.Key] = s.Remark
	}
	var rows [][]string
	for _, f := range reference.Fields(config.Default()) {
		if remarks[f.Key] == "" {
			t.Errorf("the sample does not say what %s is", f.Key)
		}
		def := ""
		if text := fmt.Sprint(f.Value.Interface()); !f.Value.IsZero() {
			def = reference.Short(text)
		}
		reload := "restart"
		if config.Reloaded(f.Key) {
			reload = "reload"
		}
		rows = append(rows, []string{
			reference.Code(f.Key), f.Type, reference.Code(def), reference.Short(config.Allowed(f.Key)), reload,
			reference.Code(config.Variable(f.Key)), remarks[f.Key],
		})
	}
	if len(rows) != len(config.Keys()) {
		t.Errorf("%d keys are told of, and there are %d", len(rows), len(config.Keys()))
	}
	reference.Hold(t, "docs/reference-controller.md", "keys",
		reference.Table([]string{"key", "type", "default", "allowed", "changed by", "variable", "meaning"}, rows))

	var b strings.Builder
	b.WriteString("```yaml\n")
	b.Write(config.Sample)
	b.WriteString("```\n")
	reference.Hold(t, "docs/reference-controller.md", "sample", b.String())
}
