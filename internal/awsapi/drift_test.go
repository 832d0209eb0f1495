package awsapi

import (
	"reflect"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
)

// unionMembers are the SDK's types for the members of a union: reflection cannot list
// what implements an interface.
var unionMembers = map[reflect.Type]map[string]reflect.Type{
	reflect.TypeFor[types.DestinationConfiguration](): {
		"s3":             reflect.TypeFor[types.S3DestinationConfiguration](),
		"cloudWatchLogs": reflect.TypeFor[types.CloudWatchLogsDestinationConfiguration](),
		"firehose":       reflect.TypeFor[types.FirehoseDestinationConfiguration](),
	},
}

// TestNoShapeDrift holds our shapes against the SDK's, both ways: an operation or a
// member that either side lacks fails, and so does a member of another type.
func TestNoShapeDrift(t *testing.T) {
	byName := map[string]operation{}
	for _, o := range operations {
		if o.action == "ivschat:"+o.name {
			byName[o.name] = o
		}
	}
	client := reflect.TypeFor[*ivschat.Client]()
	known := 0
	for i := range client.NumMethod() {
		method := client.Method(i)
		if method.Name == "Options" {
			continue
		}
		known++
		o, ok := byName[method.Name]
		if !ok {
			t.Errorf("operation %s is missing", method.Name)
			continue
		}
		compareShapes(t, method.Name+" input", o.in, method.Type.In(2).Elem())
		compareShapes(t, method.Name+" output", o.out, method.Type.Out(0).Elem())
	}
	if len(byName) != known {
		t.Errorf("%d operations, the SDK has %d", len(byName), known)
	}
}

// TestOwnOperationsAreApart holds what is not the API's to one form: what the API has, or
// may come to have, is no operation of ours under another name, and nobody who may use
// the API may by that use ours.
func TestOwnOperationsAreApart(t *testing.T) {
	names := map[string]bool{}
	for row, o := range operations {
		if names[o.name] {
			t.Errorf("%s is there twice", o.name)
		}
		names[o.name] = true
		_, ofSDK := reflect.TypeFor[*ivschat.Client]().MethodByName(o.name)
		prefix, ours := "ivschat:", strings.Contains(row, " /parlor/")
		if ours {
			prefix = "parlor:"
			if want := "POST /parlor/" + o.name; row != want {
				t.Errorf("got %s, want %s", row, want)
			}
		}
		if o.action != prefix+o.name {
			t.Errorf("%s: policies name it %s, want %s", row, o.action, prefix+o.name)
		}
		if ours == ofSDK {
			t.Errorf("%s: Parlor's own %v, the SDK's %v", row, ours, ofSDK)
		}
	}
}

func compareShapes(t *testing.T, at string, ours, sdk reflect.Type) {
	t.Helper()
	got, want := ourMembers(ours), sdkMembers(sdk)
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: the SDK has no member %s", at, name)
		}
	}
	for name, sdkType := range want {
		ourType, ok := got[name]
		if !ok {
			t.Errorf("%s: member %s is missing", at, name)
			continue
		}
		compareTypes(t, at+"."+name, ourType, sdkType)
	}
}

func compareTypes(t *testing.T, at string, ours, sdk reflect.Type) {
	t.Helper()
	ours, sdk = indirect(ours), indirect(sdk)
	got, want := kind(ours), kind(sdk)
	if want == "time" {
		want = "string" // ISO 8601 on the wire
	}
	if got != want {
		t.Errorf("%s: got %s, want %s", at, got, want)
		return
	}
	switch got {
	case "struct":
		compareShapes(t, at, ours, sdk)
	case "list", "map":
		compareTypes(t, at+"[]", ours.Elem(), sdk.Elem())
	}
}

func indirect(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

func kind(t reflect.Type) string {
	switch {
	case t.String() == "time.Time":
		return "time"
	case t.Kind() == reflect.Int32 || t.Kind() == reflect.Int:
		return "integer"
	case t.Kind() == reflect.Slice:
		return "list"
	case t.Kind() == reflect.Interface: // a union
		return "struct"
	}
	return t.Kind().String()
}

func ourMembers(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for _, field := range reflect.VisibleFields(t) {
		for _, tag := range []string{"json", "label", "query"} {
			if name, _, _ := strings.Cut(field.Tag.Get(tag), ","); name != "" {
				out[name] = field.Type
			}
		}
	}
	return out
}

func sdkMembers(t reflect.Type) map[string]reflect.Type {
	if members, ok := unionMembers[t]; ok {
		return members
	}
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		field := t.Field(i)
		if field.Name != "ResultMetadata" && field.IsExported() {
			out[strings.ToLower(field.Name[:1])+field.Name[1:]] = field.Type
		}
	}
	return out
}
