package config_test

import (
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"devflowbackup/controller/internal/config"
)

// As it is, the sample changes nothing.
func TestSample_SetsNothing(t *testing.T) {
	c := config.Default()
	if err := c.Load(config.Sample); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(c, config.Default()) {
		t.Errorf("the sample is %+v", c)
	}
}

// With all of its settings in force it is valid, says what the defaults are, and leaves no key out.
func TestSample_Settings(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#([^ \n]|  +\S)`).ReplaceAll(config.Sample, []byte("$1"))
	c := config.Default()
	if err := c.Load(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if c.Catalog.DSNFile == "" {
		t.Error("the sample names no file for the catalog, which has no default")
	}
	c.Catalog.DSNFile = ""
	c.Names, c.NATS.URLs, c.NATS.Advertise, c.OIDC.Groups, c.API.CORSOrigins, c.Alarms.Allow = nil, nil, nil, nil, nil, nil // empty is none
	if !reflect.DeepEqual(c, config.Default()) {
		t.Errorf("settings of the sample are not the defaults:\n%+v\n%+v", c, config.Default())
	}
	var all any
	if err := yaml.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	have := keys("", all)
	for _, key := range fields("", reflect.TypeFor[config.Config]()) {
		if !slices.Contains(have, key) {
			t.Errorf("the sample does not have %s", key)
		}
	}
}

// keys are the paths of all settings in a text; elements of lists have no index.
func keys(path string, v any) []string {
	var out []string
	switch v := v.(type) {
	case map[string]any:
		for k, sub := range v {
			p := strings.TrimPrefix(path+"."+k, ".")
			out = append(out, p)
			out = append(out, keys(p, sub)...)
		}
	case []any:
		for _, sub := range v {
			out = append(out, keys(path, sub)...)
		}
	}
	return out
}

// fields are the paths of all settings that a type has.
func fields(path string, of reflect.Type) []string {
	for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct {
		return nil
	}
	var out []string
	for _, f := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		p := strings.TrimPrefix(path+"."+name, ".")
		out = append(out, p)
		out = append(out, fields(p, f.Type)...)
	}
	return out
}
