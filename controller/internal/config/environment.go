package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"devflowbackup/shared/secret"
)

// Prefix begins the name of every variable that sets a key.
const Prefix = "DEVFLOW_"

// Variable is the environment's name of a key: DEVFLOW_NATS_LISTEN for nats.listen.
func Variable(key string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Keys are all keys of the file in its order, such as nats.listen. Sections are no keys.
func Keys() []string {
	var out []string
	eachKey(reflect.ValueOf(new(Config)).Elem(), "", func(key string, _ reflect.Value) { out = append(out, key) })
	return out
}

// Environment lays variables over c: it wins over the file. environ is as os.Environ gives it. Elements of lists are parted by
// commas, an empty variable sets nothing. A variable of one of the sections that names no key of it is an error, as in the file; other
// variables with the prefix are other programs'. No error shows a value that may be secret.
func (c *Config) Environment(environ []string) error {
	set := make(map[string]string)
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok && strings.HasPrefix(name, Prefix) && value != "" {
			set[name] = value
		}
	}
	var errs []error
	given := make(map[string]bool)
	eachKey(reflect.ValueOf(c).Elem(), "", func(key string, to reflect.Value) {
		name := Variable(key)
		value, ok := set[name]
		if !ok {
			return
		}
		delete(set, name)
		given[key] = true
		if err := assign(to, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	})
	// The twin that the file gives is not meant any more.
	switch dsn, file := given["catalog.dsn"], given["catalog.dsn_file"]; {
	case dsn && !file:
		c.Catalog.DSNFile = ""
	case file && !dsn:
		c.Catalog.DSN = ""
	}
	switch text, file := given["oidc.client_secret"], given["oidc.client_secret_file"]; {
	case text && !file:
		c.OIDC.ClientSecretFile = ""
	case file && !text:
		c.OIDC.ClientSecret = ""
	}
	switch text, file := given["alarms.ping_url"], given["alarms.ping_url_file"]; {
	case text && !file:
		c.Alarms.PingURLFile = ""
	case file && !text:
		c.Alarms.PingURL = ""
	}
	for _, name := range slices.Sorted(keysOf(set)) {
		if section, ok := sectionOf(name); ok {
			errs = append(errs, fmt.Errorf("%s: %s has no such key", name, section))
		}
	}
	return errors.Join(errs...)
}

// Secrets are the variables whose values are secret: a program takes them out of its environment, so that what it starts does
// not get them.
func Secrets() []string {
	return []string{Variable("catalog.dsn"), Variable("oidc.client_secret"), Variable("alarms.ping_url")}
}

func keysOf(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// sectionOf tells which section of the file a variable's name belongs to.
func sectionOf(name string) (string, bool) {
	for _, f := range reflect.VisibleFields(reflect.TypeFor[Config]()) {
		if f.Type.Kind() != reflect.Struct {
			continue
		}
		if section := f.Tag.Get("yaml"); strings.HasPrefix(name, Variable(section)+"_") {
			return section, true
		}
	}
	return "", false
}

func eachKey(v reflect.Value, path string, f func(key string, v reflect.Value)) {
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		key := strings.TrimPrefix(path+"."+name, ".")
		if v.Field(i).Kind() == reflect.Struct {
			eachKey(v.Field(i), key, f)
			continue
		}
		f(key, v.Field(i))
	}
}

func assign(to reflect.Value, text string) error {
	switch p := to.Addr().Interface().(type) {
	case *string:
		*p = text
	case *secret.String:
		*p = secret.String(text)
	case *[]string:
		*p = nil
		for one := range strings.SplitSeq(text, ",") {
			if one = strings.TrimSpace(one); one != "" {
				*p = append(*p, one)
			}
		}
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a duration; give it a unit, such as 10s, 2m or 1h", text)
		}
		*p = d
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*p = n
	default:
		return fmt.Errorf("a key of type %s cannot be set by a variable", to.Type())
	}
	return nil
}

// Changed are the keys in which two configurations differ.
func Changed(a, b Config) []string {
	values := make(map[string]reflect.Value)
	eachKey(reflect.ValueOf(&a).Elem(), "", func(key string, v reflect.Value) { values[key] = v })
	var out []string
	eachKey(reflect.ValueOf(&b).Elem(), "", func(key string, v reflect.Value) {
		if !reflect.DeepEqual(values[key].Interface(), v.Interface()) {
			out = append(out, key)
		}
	})
	return out
}
