package config_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"devflowbackup/agent/internal/config"
	available "devflowbackup/agent/internal/engines"
	"devflowbackup/shared/secret"
	"devflowbackup/shared/testkit/reference"
	"devflowbackup/shared/wire"
)

// docs/reference-agent.md is what the code says: keys from the types, defaults from Default, bounds and engines from what Validate
// checks, meanings from the sample.
func TestReference(t *testing.T) {
	sample, err := reference.Sample(config.Sample)
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string][]reference.Setting)
	for _, s := range sample {
		said[s.Key] = append(said[s.Key], s)
	}
	var rows, instance [][]string
	for _, f := range reference.Fields(config.Default()) {
		meaning := meaning(said[f.Key])
		if meaning == "" {
			t.Errorf("the sample does not say what %s is", f.Key)
		}
		key, isInstance := strings.CutPrefix(f.Key, "instances[].")
		allowed := reference.Short(config.Allowed(f.Key))
		if isInstance {
			def := "required"
			if engines := needs(t, key); len(engines) == 0 {
				def = standard(said[f.Key])
			} else if len(engines) < len(available.Names()) {
				def += " for " + strings.Join(engines, ", ")
			}
			if key == "engine" {
				allowed = strings.Join(available.Names(), ", ")
			}
			instance = append(instance, []string{reference.Code(key), f.Type, def, allowed, takes(t, key), meaning})
			continue
		}
		def := ""
		if !f.Value.IsZero() {
			def = reference.Short(fmt.Sprint(f.Value.Interface()))
		}
		reload := "restart"
		if config.Reloaded(f.Key) {
			reload = "reload"
		}
		rows = append(rows, []string{reference.Code(f.Key), f.Type, reference.Code(def), allowed, reload, meaning})
	}
	reference.Hold(t, "docs/reference-agent.md", "keys",
		reference.Table([]string{"key", "type", "default", "allowed", "changed by", "meaning"}, rows))
	reference.Hold(t, "docs/reference-agent.md", "instances",
		reference.Table([]string{"key", "type", "default", "allowed", "engines", "meaning"}, instance))
	reference.Hold(t, "docs/reference-agent.md", "sample", "```yaml\n"+string(config.Sample)+"```\n")
}

// meaning is what the sample says of a key; of one that it says different things of, below which remark.
func meaning(all []reference.Setting) string {
	var different []reference.Setting
	for _, s := range all {
		if s.Remark != "" && !slices.ContainsFunc(different, func(o reference.Setting) bool { return o.Remark == s.Remark }) {
			different = append(different, s)
		}
	}
	if len(different) == 1 {
		return different[0].Remark
	}
	var parts []string
	for _, s := range different {
		parts = append(parts, s.Under+": "+s.Remark)
	}
	return strings.Join(parts, ". ")
}

// standard is what the sample sets a key to; of one that engines have different defaults of, below which remark.
func standard(all []reference.Setting) string {
	var parts []string
	for _, s := range all {
		value := strings.Trim(s.Value, `"`)
		if value == "" || value == "[]" {
			continue
		}
		parts = append(parts, s.Under+" "+reference.Code(value))
	}
	if len(parts) == 1 {
		return parts[0][strings.Index(parts[0], "`"):]
	}
	return strings.Join(parts, ", ")
}

// complete is an instance with all that its engine needs.
func complete(engine string) config.Instance {
	in := config.Instance{Name: "main", Engine: engine, Databases: config.Databases{Include: []string{"*"}}}
	if engine == wire.EngineSQLite {
		in.Paths, in.SnapshotDir = []string{"/srv/app"}, "/srv/snapshots"
	} else {
		in.User = "devflow_backup"
	}
	return in
}

func field(in *config.Instance, key string) reflect.Value {
	for _, f := range reference.Fields(in) {
		if f.Key == key {
			return f.Value
		}
	}
	return reflect.Value{}
}

// accepted tells what is wrong with an instance, as the agent finds it when it starts.
func accepted(in config.Instance) error {
	c := config.Default()
	c.Instances = []config.Instance{in}
	if err := c.Validate(available.Names()); err != nil {
		return err
	}
	_, err := available.New(in, nil)
	return err
}

// needs are the engines that refuse an instance without the key.
func needs(t *testing.T, key string) []string {
	t.Helper()
	var out []string
	for _, engine := range available.Names() {
		in := complete(engine)
		if err := accepted(in); err != nil {
			t.Fatalf("%s: %v", engine, err)
		}
		if key == "snapshot_dir" {
			continue // Load gives it one
		}
		field(&in, key).SetZero()
		if accepted(in) != nil {
			out = append(out, engine)
		}
	}
	return out
}

// takes names the engines for which the key may be set; empty for all.
func takes(t *testing.T, key string) string {
	t.Helper()
	var out []string
	for _, engine := range available.Names() {
		in := complete(engine)
		if strings.HasPrefix(key, "restore.swap_") && key != "restore.swap_user" {
			in.Restore.SwapUser = "other"
		}
		switch v := field(&in, key); {
		case key == "engine":
		case v.Type() == reflect.TypeFor[secret.String]():
			v.SetString("secret")
		case key == "restore.definers":
			v.SetString("keep")
		case key == "sslmode":
			v.SetString("require")
		case key == "snapshot_dir" || key == "ssl_root_cert":
			v.SetString("/srv/x")
		case v.Kind() == reflect.String:
			v.SetString("x")
		case v.Kind() == reflect.Int:
			v.SetInt(1)
		case v.Kind() == reflect.Slice:
			v.Set(reflect.ValueOf([]string{"/srv/x"}))
		case v.Kind() == reflect.Bool:
			v.SetBool(true)
		case v.Kind() == reflect.Pointer:
			v.Set(reflect.ValueOf(new(bool)))
		}
		c := config.Default()
		c.Instances = []config.Instance{in}
		err := c.Validate(available.Names())
		switch {
		case err == nil:
			out = append(out, engine)
		case !strings.Contains(err.Error(), "but the engine is "+engine):
			t.Errorf("%s of %s: %v", key, engine, err)
		}
	}
	if len(out) == len(available.Names()) {
		return ""
	}
	return strings.Join(out, ", ")
}
