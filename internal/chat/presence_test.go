package chat

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
)

func TestParseAttendance(t *testing.T) {
	x, err := ParseExtensions(map[string]string{"parlor:presence": "list", "parlor:max-connections-per-user": "100"})
	if err != nil || x.Attendance != (Attendance{Presence: PresenceList, Most: 100}) {
		t.Errorf("got %+v, %v", x, err)
	}
	for tag, want := range map[string]string{
		"parlor:presence=":                     "parlor:presence must be count or list",
		"parlor:presence=true":                 "parlor:presence must be count or list",
		"parlor:max-connections-per-user=0":    "parlor:max-connections-per-user must be a whole number between 1 and 100",
		"parlor:max-connections-per-user=101":  "parlor:max-connections-per-user must be a whole number",
		"parlor:max-connections-per-user=03":   "parlor:max-connections-per-user must be a whole number",
		"parlor:max-connections-per-user=many": "parlor:max-connections-per-user must be a whole number",
	} {
		name, value, _ := strings.Cut(tag, "=")
		if _, err := ParseExtensions(map[string]string{name: value}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", tag, err, want)
		}
	}
}

// TestPresenceIsSmall: whoever comes and goes, the event has room for it, names as many as
// it may, counts the rest, and is no record.
func TestPresenceIsSmall(t *testing.T) {
	many := func(n int, user string) (users []string) {
		for i := range n {
			users = append(users, user+strconv.Itoa(i))
		}
		return users
	}
	for _, of := range []struct {
		name         string
		joined, left []string
		more, named  int
	}{
		{"nobody", nil, nil, 0, 0},
		{"some", []string{`a"b`, "<c>"}, []string{"\u2028é"}, 0, 3},
		{"many", many(80, "user"), many(51, "user"), 7, 2 * PresenceNames},
		{"long ones", many(50, strings.Repeat("語", 120)), many(50, strings.Repeat("\x01", 120)), 0, 7},
	} {
		t.Run(of.name, func(t *testing.T) {
			w := newWorld()
			d := &diary{world: w}
			w.service.recorder = d
			room := w.room(t, RoomSpec{LoggingConfigurations: []ARN{w.loggingConfiguration(t).ARN}}).ARN
			w.broker.taken()
			now := Standing{Users: 1234, Connections: 5678, Joined: of.joined, Left: of.left, More: of.more}
			if err := w.service.ShowPresence(t.Context(), room, PresenceList, now); err != nil {
				t.Fatal(err)
			}
			pub := w.broker.one(t)
			var event struct {
				Type, EventName, RequestID string
				Attributes                 map[string]string
			}
			if err := json.Unmarshal(pub.Frame, &event); err != nil {
				t.Fatal(err)
			}
			var joined, left []string
			if json.Unmarshal([]byte(event.Attributes["Joined"]), &joined) != nil || json.Unmarshal([]byte(event.Attributes["Left"]), &left) != nil {
				t.Fatalf("got %s", pub.Frame)
			}
			more, _ := strconv.Atoi(event.Attributes["More"])
			if all := len(of.joined) + len(of.left) + of.more; len(joined)+len(left)+more != all || len(joined)+len(left) != of.named {
				t.Errorf("got %d and %d named, %d more; want %d of %d named", len(joined), len(left), more, of.named, all)
			}
			if n := len(joined); fmt.Sprint(joined) != fmt.Sprint(of.joined[:n]) || event.Attributes["Users"] != "1234" || event.Attributes["Connections"] != "5678" || event.EventName != "parlor:PRESENCE" {
				t.Errorf("got %s", pub.Frame)
			}
			if len(pub.Frame) > 10<<10 {
				t.Errorf("got %d bytes", len(pub.Frame))
			}
			d.want(t, "a room that logs")
		})
	}
}
