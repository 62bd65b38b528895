package reference

import (
	"reflect"
	"strings"
)

// Field is a key that a configuration's type has.
type Field struct {
	Key   string // as Setting has it
	Type  string // in words
	Value reflect.Value
}

// Fields are the keys of a configuration in their order, with the values that it has. A list of sections is shown by its first element,
// or by an empty one. Values of a configuration that is given by its address can be set.
func Fields(of any) []Field { return fields("", reflect.Indirect(reflect.ValueOf(of))) }

func fields(path string, v reflect.Value) []Field {
	var out []Field
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		if name == "" || name == "-" {
			continue
		}
		key, f := strings.TrimPrefix(path+"."+name, "."), v.Field(i)
		switch {
		case f.Kind() == reflect.Struct:
			out = append(out, fields(key, f)...)
		case f.Kind() == reflect.Slice && f.Type().Elem().Kind() == reflect.Struct:
			one := reflect.New(f.Type().Elem()).Elem()
			if f.Len() > 0 {
				one = f.Index(0)
			}
			out = append(out, fields(key+"[]", one)...)
		default:
			out = append(out, Field{Key: key, Type: typeOf(f.Type()), Value: f})
		}
	}
	return out
}

func typeOf(t reflect.Type) string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t.Name() == "Duration":
		return "duration"
	case t.Name() == "Size":
		return "size"
	case t.Kind() == reflect.String && strings.HasSuffix(t.PkgPath(), "/secret"):
		return "secret text"
	case t.Kind() == reflect.String:
		return "text"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int:
		return "number"
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.String:
		return "list of texts"
	}
	return t.String()
}
