package parlortest_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// reviewRow is a row of the outcome table, for one kind of handler. The exported
// members are what the scenario sees.
type reviewRow struct {
	Name       string            `json:"name"`
	URI        string            `json:"uri"`
	Fallback   string            `json:"fallback"`
	Content    string            `json:"content"`
	Attributes map[string]string `json:"attributes"`
	Reason     *string           `json:"reason,omitempty"` // of what is refused
	Order      bool              `json:"order"`

	why   string // that the metrics give for a handler without a usable answer
	asked int    // how often the handler is
}

const (
	original = "original <1>" // what is said in every room
	refusal  = "Message rejected by review"
)

// reviewRows are all rows, and the handlers they are about.
func reviewRows() (rows []reviewRow, named map[string]review) {
	named = map[string]review{}
	sent := map[string]string{"k": "v"}
	add := func(name string, do review, row reviewRow) {
		handler := strings.NewReplacer(" ", "-", ",", "").Replace(name)
		if do != nil {
			named[handler] = do
		}
		row.asked = 1
		if row.why == "refused" {
			row.asked = 0
		} else {
			function := row
			function.Name, function.URI = "function/"+name, functionARN(handler)
			rows = append(rows, function)
		}
		row.Name, row.URI = "webhook/"+name, webhookARN(handler)
		rows = append(rows, row)
	}
	text := func(s string) *string { return &s }

	// Answers.
	for _, a := range []struct {
		name, answer string
		want         reviewRow
	}{
		{"allowed as it is", `{"ReviewResult": "ALLOW", "Content": "original <1>", "Attributes": {"k": "v"}}`, reviewRow{Content: original, Attributes: sent}},
		{"allowed and changed", `{"ReviewResult": "ALLOW", "Content": "changed ✓", "Attributes": {"by": "review", "a": "é"}}`,
			reviewRow{Content: "changed ✓", Attributes: map[string]string{"by": "review", "a": "é"}}},
		{"allowed, attributes null", `{"ReviewResult": "ALLOW", "Content": "changed", "Attributes": null}`, reviewRow{Content: "changed", Attributes: sent}},
		{"allowed, attributes absent", `{"ReviewResult": "ALLOW", "Content": "changed", "Extra": [1]}`, reviewRow{Content: "changed", Attributes: sent}},
		{"allowed, attributes empty", `{"ReviewResult": "ALLOW", "Content": "changed", "Attributes": {}}`, reviewRow{Content: "changed"}},
		{"denied with a reason", `{"ReviewResult": "DENY", "Content": "", "Attributes": {"Reason": "Mind your language ✓"}}`, reviewRow{Reason: text("Mind your language ✓")}},
		{"denied without a reason", `{"ReviewResult": "DENY", "Content": ""}`, reviewRow{Reason: text(refusal)}},
		{"denied with other attributes", `{"ReviewResult": "DENY", "Attributes": {"reason": "not this"}}`, reviewRow{Reason: text(refusal)}},
	} {
		a.want.Fallback = "DENY"
		if a.want.Reason != nil {
			a.want.Fallback = "ALLOW" // which an answer makes irrelevant
		}
		add(a.name, as(a.answer, nil), a.want)
	}

	// No answers, with either fallback.
	big := strings.Repeat("x", 1024)
	for _, a := range []struct {
		name, answer string
		err          error
		why          string
	}{
		{"garbage", "<html>", nil, "invalid"},
		{"nothing", "", nil, "invalid"},
		{"null", "null", nil, "invalid"},
		{"another result", `{"ReviewResult": "allow", "Content": "changed"}`, nil, "invalid"},
		{"no result", `{"Content": "changed"}`, nil, "invalid"},
		{"too long", `{"ReviewResult": "ALLOW", "Content": "123456789012345678901"}`, nil, "invalid"},
		{"empty content", `{"ReviewResult": "ALLOW", "Content": ""}`, nil, "invalid"},
		{"no content", `{"ReviewResult": "ALLOW"}`, nil, "invalid"},
		{"attributes that are none", `{"ReviewResult": "ALLOW", "Content": "changed", "Attributes": ["a"]}`, nil, "invalid"},
		{"attributes of numbers", `{"ReviewResult": "ALLOW", "Content": "changed", "Attributes": {"a": 1}}`, nil, "invalid"},
		{"attributes over 1 KB", `{"ReviewResult": "ALLOW", "Content": "changed", "Attributes": {"a": "` + big + `"}}`, nil, "invalid"},
		{"a reason over 1 KB", `{"ReviewResult": "DENY", "Attributes": {"Reason": "` + big + `"}}`, nil, "invalid"},
		{"more than is read", `{"ReviewResult": "ALLOW", "Content": "changed", "Extra": "` + strings.Repeat(big, 65) + `"}`, nil, "invalid"},
		{"fails", "", errFails, "error"},
		{"missing", "", errMissing, "error"},
		{"forbidden", "", errForbidden, "error"},
		{"throttled", "", errThrottled, "error"},
		{"hangs up", "", errHangsUp, "error"},
		{"silent", "", errSilent, "timeout"},
		{"nobody there", "", nil, "refused"},
	} {
		for fallback, want := range map[string]reviewRow{
			"ALLOW": {Content: original, Attributes: sent},
			"DENY":  {Reason: text(refusal)},
		} {
			want.Fallback, want.why = fallback, a.why
			do := as(a.answer, a.err)
			if a.why == "refused" {
				do = nil
			}
			add(a.name+", else "+fallback, do, want)
		}
	}

	// Some answers are slow, some refuse, some are none.
	add("in order", func(question) (string, error) {
		n := rand.IntN(150)
		time.Sleep(time.Duration(n) * time.Millisecond)
		if n < 10 {
			return "", errFails
		}
		return "", errEcho
	}, reviewRow{Order: true})
	return rows, named
}

// TestJavaScriptReview has the unmodified amazon-ivs-chat-messaging meet every outcome
// of message review, by functions of AWS Lambda and by webhooks. The server is a
// process of its own.
func TestJavaScriptReview(t *testing.T) {
	t.Parallel()
	dir := nodeProject(t)
	rows, named := reviewRows()
	h := newHandlers(t, named)
	server, _ := run(t, filepath.Join(t.TempDir(), "data"), h.known("nobody-there-else-ALLOW", "nobody-there-else-DENY"))

	results := map[string]scenario{}
	counted := map[string]map[string]float64{} // what each row's handler made the server count
	// On a loaded machine a good handler can be late, as it can be anywhere. Then the
	// row is not what was tested, and comes again.
	left := rows
	for range 3 {
		before := metrics(t, server.address)
		h.forget()
		var again []reviewRow
		for name, result := range playReview(t, dir, server, left) {
			results[name] = result
		}
		after := metrics(t, server.address)
		for _, row := range left {
			counted[row.Name] = map[string]float64{}
			for _, why := range []string{"timeout", "refused", "error", "full", "resting"} {
				name := fmt.Sprintf(`parlor_review_invocation_errors_total{reason=%q,uri=%q}`, why, row.URI)
				counted[row.Name][why] = after[name] - before[name]
			}
			name := fmt.Sprintf(`parlor_review_response_validation_errors_total{uri=%q}`, row.URI)
			counted[row.Name]["invalid"] = after[name] - before[name]
			if row.why != "timeout" && counted[row.Name]["timeout"] > 0 && !row.Order {
				t.Logf("%s: the handler was late", row.Name)
				again = append(again, row)
			}
		}
		for _, row := range left {
			if late := row.why != "timeout" && counted[row.Name]["timeout"] > 0; !late || row.Order {
				t.Run(row.Name, func(t *testing.T) { row.check(t, results[row.Name], counted[row.Name], h.questions(row.URI)) })
			}
		}
		if left = again; len(left) == 0 {
			break
		}
	}
	for _, row := range left {
		t.Errorf("%s: the handler was late three times", row.Name)
	}
}

// playReview has Node play rows, and returns what it says of each.
func playReview(t *testing.T, dir string, server *process, rows []reviewRow) map[string]scenario {
	t.Helper()
	text, err := json.Marshal(rows)
	if err != nil {
		t.Fatal(err)
	}
	node := exec.CommandContext(t.Context(), "node", "run.mjs", "review")
	node.Dir = dir
	node.Env = append(os.Environ(), "PARLOR_URL=http://"+server.address, "PARLOR_WS=ws://"+server.address, "REVIEW_ROWS="+string(text))
	var stdout, stderr bytes.Buffer
	node.Stdout, node.Stderr = &stdout, &stderr
	if err := node.Run(); err != nil {
		t.Errorf("node: %v\n%s", err, &stderr)
	}
	results := map[string]scenario{}
	for _, r := range scenarios(t, &stdout) {
		results[r.Name] = r
	}
	if got, want := len(results), len(rows)+1; got != want { // and the scenario itself
		t.Errorf("node told of %d, want %d:\n%s", got, want, &stderr)
	}
	return results
}

// check compares what became of a row with what should have.
func (row reviewRow) check(t *testing.T, got scenario, counted map[string]float64, asked []question) {
	if !got.OK {
		t.Error(got.Error)
	}
	if row.Order {
		t.Logf("%d messages, %v not answered in a usable way", len(asked), counted)
		return
	}
	for why, n := range counted {
		want := 0.0
		if why == row.why {
			want = 1
		}
		if n != want {
			t.Errorf("counted as %s: got %v, want %v", why, n, want)
		}
	}
	// One that closes a kept connection is asked again on another, about the same message:
	// it may have closed it before the question came.
	again := strings.Contains(row.Name, "hangs up") && len(asked) > 1 &&
		!slices.ContainsFunc(asked, func(q question) bool { return q.MessageID != got.ID })
	if len(asked) != row.asked && !again {
		t.Fatalf("the handler was asked %d times, want %d: of messages alone, and once", len(asked), row.asked)
	}
	if row.asked == 0 {
		return
	}
	want := question{Content: original, MessageID: got.ID, RoomArn: got.Room, Attributes: map[string]string{"k": "v"}}
	want.Sender.UserID, want.Sender.IP, want.Sender.Attributes = "ann", "127.0.0.1", map[string]string{"name": "Ann é"}
	if diff := cmp.Diff(want, asked[0]); diff != "" {
		t.Errorf("the handler was asked (-want +got):\n%s", diff)
	}
}
