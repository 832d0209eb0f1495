package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// quotasOf loads a text as a file of quotas. The path is F in errors.
func quotasOf(t *testing.T, text string) (quotas chat.Quotas, fault string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "quotas.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := Config{Quotas: path}
	quotas, err := c.LoadQuotas()
	if err != nil {
		fault = strings.ReplaceAll(err.Error(), path, "F")
	}
	return quotas, fault
}

func TestQuotasByName(t *testing.T) {
	for _, tc := range []struct {
		name string
		want chat.Quotas
	}{
		{"none", chat.Quotas{}},
		{"", chat.Quotas{}},
		{"aws", chat.AWSQuotas()},
	} {
		c := Config{Quotas: tc.name}
		got, err := c.LoadQuotas()
		if err != nil {
			t.Errorf("%q: got %v, want no fault", tc.name, err)
		}
		if diff := cmp.Diff(got, tc.want); diff != "" {
			t.Errorf("%q (-got +want)\n%s", tc.name, diff)
		}
	}
}

func TestQuotasFile(t *testing.T) {
	for _, tc := range []struct {
		name, file string
		want       chat.Quotas
		fault      string // whole; F is the path
	}{
		{name: "empty: nothing is limited", file: ""},
		{name: "comments only", file: "# later\n"},
		{
			name: "everything",
			file: "rooms: 1\nlogging-configurations: 2\nconnections: 3\nsend-message: 4\ndelete-message: 5\ndisconnect-user: 6\nrequests:\n  CreateRoom: 7 # a second\n  TagResource: 0\n",
			want: chat.Quotas{Rooms: 1, LoggingConfigurations: 2, Connections: 3, SendMessage: 4, DeleteMessage: 5, DisconnectUser: 6,
				Requests: map[string]int{"CreateRoom": 7, "TagResource": 0}},
		},
		{name: "one quota", file: "rooms: 12\n", want: chat.Quotas{Rooms: 12}},
		{name: "one operation", file: "requests:\n  GetRoom: 5\n", want: chat.Quotas{Requests: map[string]int{"GetRoom": 5}}},
		{name: "operations in a line", file: "requests: {GetRoom: 5, ListRooms: 6}\n", want: chat.Quotas{Requests: map[string]int{"GetRoom": 5, "ListRooms": 6}}},
		{name: "an unknown name", file: "rooms: 1\nroom: 1\n",
			fault: `F:2: unknown quota "room"; the quotas are rooms, logging-configurations, connections, send-message, delete-message, disconnect-user and requests`},
		{name: "an unknown operation", file: "requests:\n  GetRoom: 1\n  GetRooms: 1\n", fault: `F:3: requests: there is no operation "GetRooms"`},
		{name: "an operation outside of requests", file: "GetRoom: 1\n",
			fault: `F:1: unknown quota "GetRoom"; the quotas are rooms, logging-configurations, connections, send-message, delete-message, disconnect-user and requests`},
		{name: "negative", file: "\nconnections: -1\n", fault: "F:2: connections: -1 is less than 0, which is no limit"},
		{name: "negative rate", file: "requests:\n  ListRooms: -5\n", fault: "F:2: requests: ListRooms: -5 is less than 0, which is no limit"},
		{name: "a word", file: "rooms: many\n", fault: `F:1: rooms: "many" is not a whole number`},
		{name: "a string", file: "rooms: \"5\"\n", fault: `F:1: rooms: "5" is not a whole number`},
		{name: "a fraction", file: "rooms: 1.5\n", fault: `F:1: rooms: "1.5" is not a whole number`},
		{name: "too large", file: "rooms: 99999999999999999999\n", fault: `F:1: rooms: "99999999999999999999" is not a whole number`},
		{name: "no value", file: "rooms:\n", fault: "F:1: rooms has no value"},
		{name: "no operations", file: "requests:\n", fault: "F:1: requests has no value"},
		{name: "a list", file: "rooms: [1]\n", fault: "F:1: rooms: want a whole number"},
		{name: "a number for all operations", file: "requests: 5\n", fault: "F:1: requests: want numbers by operation, such as\n  CreateRoom: 5"},
		{name: "not a mapping", file: "- rooms\n", fault: "F:1: the file is not a mapping of quotas to numbers, such as\n  rooms: 50000"},
		{name: "two documents", file: "rooms: 1\n---\nrooms: 2\n", fault: "F:1: the file has several YAML documents, it must have one"},
		{name: "every fault at once, by line", file: "rooms: x\nrequests:\n  A: 1\n  GetRoom: -1\nconnections: -2\n",
			fault: "F:1: rooms: \"x\" is not a whole number\nF:3: requests: there is no operation \"A\"\nF:4: requests: GetRoom: -1 is less than 0, which is no limit\nF:5: connections: -2 is less than 0, which is no limit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, fault := quotasOf(t, tc.file)
			if fault != tc.fault {
				t.Errorf("got fault\n%s\nwant\n%s", fault, tc.fault)
			}
			if diff := cmp.Diff(got, tc.want); diff != "" {
				t.Errorf("(-got +want)\n%s", diff)
			}
		})
	}
}

// What is not YAML, or sets a name twice, is refused with its line too; the words are
// the parser's.
func TestQuotasFileThatIsNotYAML(t *testing.T) {
	for _, tc := range []struct{ name, file, line string }{
		{"set twice", "rooms: 1\nconnections: 2\nrooms: 3\n", "F:3:"},
		{"an operation twice", "requests:\n  GetRoom: 1\n  GetRoom: 2\n", "F:3:"},
		{"broken", "connections: 1\nrooms: }\n", "F:2:"},
	} {
		if _, fault := quotasOf(t, tc.file); !strings.HasPrefix(fault, tc.line) {
			t.Errorf("%s: got %q, want a fault at %s", tc.name, fault, tc.line)
		}
	}
}

func TestQuotasFileThatIsNotThere(t *testing.T) {
	c := Config{Quotas: filepath.Join(t.TempDir(), "none.yaml")}
	if _, err := c.LoadQuotas(); err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("got %v, want a fault that names the file", err)
	}
}
