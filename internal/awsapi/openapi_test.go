package awsapi

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
)

// schema is as much of a schema as the test looks at.
type schema struct {
	Ref        string             `yaml:"$ref"`
	Type       string             `yaml:"type"`
	Required   []string           `yaml:"required"`
	Properties map[string]*schema `yaml:"properties"`
	Items      *schema            `yaml:"items"`
}

type mediaTypes map[string]struct {
	Schema *schema `yaml:"schema"`
}

type openAPI struct {
	OpenAPI string `yaml:"openapi"`
	Paths   map[string]map[string]struct {
		OperationID string `yaml:"operationId"`
		Summary     string `yaml:"summary"`
		RequestBody struct {
			Required bool       `yaml:"required"`
			Content  mediaTypes `yaml:"content"`
		} `yaml:"requestBody"`
		Responses map[string]struct {
			Content mediaTypes `yaml:"content"`
		} `yaml:"responses"`
	} `yaml:"paths"`
	Components struct {
		Schemas map[string]*schema `yaml:"schemas"`
	} `yaml:"components"`
}

// TestOpenAPI: docs/openapi.yaml has every operation of Parlor's own, with the members
// that it has, of their types, and says of each truly whether it is required.
func TestOpenAPI(t *testing.T) {
	text, err := os.ReadFile("../../docs/openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc openAPI
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1.") {
		t.Errorf("got version %s, want 3.1", doc.OpenAPI)
	}
	f := newFixture(t)
	described := 0
	for row, o := range operations {
		path, ours := strings.CutPrefix(row, "POST /parlor/")
		if !ours {
			continue
		}
		described++
		said, ok := doc.Paths["/parlor/"+path]["post"]
		if !ok || said.OperationID != o.name || said.Summary == "" {
			t.Errorf("%s is not described", o.name)
			continue
		}
		needs := f.refuses(t, o.name)
		if said.RequestBody.Required != (len(needs) > 0) {
			t.Errorf("%s: the body is required: got %v", o.name, said.RequestBody.Required)
		}
		doc.compare(t, o.name+" input", said.RequestBody.Content["application/json"].Schema, o.in, needs)
		doc.compare(t, o.name+" output", said.Responses["200"].Content["application/json"].Schema, o.out, nil)
		if _, ok := said.Responses["default"]; !ok {
			t.Errorf("%s: its errors are not described", o.name)
		}
	}
	if len(doc.Paths) != described {
		t.Errorf("got %d paths, want %d", len(doc.Paths), described)
	}
}

// refuses returns the members that an operation wants when it is given none.
func (f *fixture) refuses(t *testing.T, operation string) []string {
	t.Helper()
	w := f.post("parlor/"+operation, `{}`)
	var refusal struct{ FieldList []struct{ Name string } }
	if err := json.Unmarshal(w.Body.Bytes(), &refusal); err != nil {
		t.Fatalf("%s: %d %s", operation, w.Code, w.Body)
	}
	names := []string{}
	for _, field := range refusal.FieldList {
		names = append(names, field.Name)
	}
	slices.Sort(names)
	return names
}

// compare holds a schema against a shape. required are the members that must be there, or
// nil for those that an output always has.
func (d *openAPI) compare(t *testing.T, at string, s *schema, shape reflect.Type, required []string) {
	t.Helper()
	s = d.resolve(t, at, s)
	shape = indirect(shape)
	if shape == reflect.TypeFor[Time]() {
		shape = reflect.TypeFor[string]()
	}
	want := map[reflect.Kind]string{
		reflect.Struct: "object", reflect.Map: "object", reflect.Slice: "array", reflect.Array: "array", reflect.String: "string", reflect.Bool: "boolean",
		reflect.Int: "integer", reflect.Int32: "integer", reflect.Int64: "integer", reflect.Uint64: "integer", reflect.Float64: "number",
	}[shape.Kind()]
	if s.Type != want {
		t.Errorf("%s: got type %q, want %q", at, s.Type, want)
		return
	}
	if s.Items != nil {
		if item := indirect(shape.Elem()); item.Kind() != reflect.Array {
			d.compare(t, at+"[]", s.Items, item, nil)
		}
	}
	if shape.Kind() != reflect.Struct {
		return
	}
	var members, always []string
	for i := range shape.NumField() {
		name, options, _ := strings.Cut(shape.Field(i).Tag.Get("json"), ",")
		members = append(members, name)
		if options == "" {
			always = append(always, name)
		}
		if s.Properties[name] != nil {
			d.compare(t, at+"."+name, s.Properties[name], shape.Field(i).Type, nil)
		}
	}
	if required == nil {
		required = always
	}
	described := []string{}
	for name := range s.Properties {
		described = append(described, name)
	}
	for _, list := range [][]string{members, required, described, s.Required} {
		slices.Sort(list)
	}
	if diff := cmp.Diff(described, members, emptyIsNil); diff != "" {
		t.Errorf("%s: members (-described +there)\n%s", at, diff)
	}
	if diff := cmp.Diff(s.Required, required, emptyIsNil); diff != "" {
		t.Errorf("%s: required (-described +truly)\n%s", at, diff)
	}
}

var emptyIsNil = cmp.FilterValues(func(a, b []string) bool { return len(a)+len(b) == 0 }, cmp.Ignore())

func (d *openAPI) resolve(t *testing.T, at string, s *schema) *schema {
	t.Helper()
	for s != nil && s.Ref != "" {
		name := strings.TrimPrefix(s.Ref, "#/components/schemas/")
		if s = d.Components.Schemas[name]; s == nil {
			t.Fatalf("%s: there is no schema %s", at, name)
		}
	}
	if s == nil {
		t.Fatalf("%s: there is no schema", at)
	}
	return s
}
