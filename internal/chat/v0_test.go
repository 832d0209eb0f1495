package chat

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var writeV0 = flag.String("write-v0", "", "directory to write frozen formats to, where there are none yet")

const v0 = "../../testdata/v0"

// v0Tokens is the file of frozen tokens. They were sealed at the first moment of a synctest
// bubble, and open for as long as tokens do.
type v0Tokens struct {
	Keys   []TokenKey
	Tokens map[string]string // by the name of their claims
	Pages  map[string]string // by the name of their list
}

func v0Claims() map[string]Claims {
	room := ARN{Scope: Scope{Region: "eu-west-1", Account: "123456789012"}, Kind: KindRoom, ID: "RoomPlain001"}
	begin := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	return map[string]Claims{
		"watches": {Room: room, UserID: "a", Attributes: map[string]string{}, TokenExpires: begin.Add(time.Minute), SessionExpires: begin.Add(time.Minute)},
		"moderates": {Room: room, UserID: "Грета \"<&>\" \u2028", Capabilities: everything, Attributes: map[string]string{"color": "#ff0000", "ключ": "значение", "": "empty"},
			TokenExpires: begin.Add(time.Hour), SessionExpires: begin.Add(MaxSessionDuration)},
		"at its largest": {Room: room, UserID: strings.Repeat("u", 128), Capabilities: MaySendMessage, Attributes: map[string]string{"a": strings.Repeat("x", 1000)},
			TokenExpires: begin.Add(time.Hour), SessionExpires: begin.Add(time.Hour)},
	}
}

type v0Page struct {
	listing listing
	place   Cursor
}

func v0Pages() map[string]v0Page {
	scope := Scope{Region: "eu-west-1", Account: "123456789012"}
	place := Cursor{UpdateTime: time.Date(2026, 1, 2, 3, 4, 5, 678_901_000, time.UTC), ID: "RoomReviewed"}
	return map[string]v0Page{
		"rooms":                  {listing{scope, KindRoom, RoomFilter{}}, place},
		"rooms by all":           {listing{scope, KindRoom, RoomFilter{"name", "arn:aws:lambda:eu-west-1:123456789012:function:review", ARN{scope, KindLoggingConfiguration, "LcBucket0001"}}}, place},
		"logging configurations": {listing{scope, KindLoggingConfiguration, RoomFilter{}}, place},
	}
}

// TestV0 opens the tokens of the first frozen format.
func TestV0(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if *writeV0 != "" {
			writeV0Tokens(t, filepath.Join(*writeV0, "tokens.json"))
		}
		text, err := os.ReadFile(filepath.Join(v0, "tokens.json"))
		if err != nil {
			t.Fatal(err)
		}
		var frozen v0Tokens
		if err := json.Unmarshal(text, &frozen); err != nil {
			t.Fatal(err)
		}
		sealer := NewSealer(v0Ring(t, frozen.Keys))
		for name, want := range v0Claims() {
			got, err := sealer.Open(t.Context(), frozen.Tokens[name])
			got.ID = TokenID{}
			if diff := cmp.Diff(got, want); diff != "" || err != nil {
				t.Errorf("%s: %v (-got +want)\n%s", name, err, diff)
			}
		}
		for name, want := range v0Pages() {
			if got, err := want.listing.parseToken(frozen.Pages[name]); got != want.place || err != nil {
				t.Errorf("a page of %s: got %v, %v", name, got, err)
			}
		}
		time.Sleep(2 * time.Hour)
		if _, err := sealer.Open(t.Context(), frozen.Tokens["moderates"]); err == nil {
			t.Error("a token that expired was opened")
		}
	})
}

func v0Ring(t *testing.T, keys []TokenKey) *memoryStore {
	t.Helper()
	s := newMemoryStore()
	for _, key := range keys {
		if err := s.AddTokenKey(context.Background(), key); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func writeV0Tokens(t *testing.T, name string) {
	t.Helper()
	now := time.Now().UTC()
	frozen := v0Tokens{Tokens: map[string]string{}, Pages: map[string]string{}, Keys: []TokenKey{
		{ID: 7, Created: now.Add(-keyRotation / 2), Secret: []byte("frozen key 1, which is no secret")},
		{ID: 1<<32 - 1, Created: now, Secret: []byte("frozen key 2, which is no secret")},
	}}
	for i, names := range [][]string{{"watches"}, {"moderates", "at its largest"}} {
		sealer := NewSealer(v0Ring(t, frozen.Keys[:i+1]))
		for _, name := range names {
			claims, err := v0Claims()[name], error(nil)
			if frozen.Tokens[name], err = sealer.Seal(t.Context(), &claims); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, page := range v0Pages() {
		frozen.Pages[name] = page.listing.token(page.place)
	}
	text, err := json.MarshalIndent(frozen, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Write(append(text, '\n')); err != nil {
		t.Fatal(err)
	}
}
