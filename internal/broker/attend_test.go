package broker

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func roomOf(id string) chat.ARN {
	return chat.ARN{Scope: chat.Scope{Region: "us-west-2", Account: "123456789012"}, Kind: chat.KindRoom, ID: id}
}

// TestAttendOverNodes: who is in a room is one over all nodes, one of them shows it, and
// the share of a node that is silent ends.
func TestAttendOverNodes(t *testing.T) {
	server := redistest.Start(t)
	ignore := func(*chat.Publication) {}
	a, b := open(t, server.URL(), "a", ignore), open(t, server.URL(), "b", ignore)
	room := roomOf("attended")
	want := chat.Attendance{Presence: chat.PresenceList, Most: 2}
	got := brokertest.Attend(t, a, room, chat.Share{Attendance: want, Anew: true, Came: brokertest.Came("s1 ann", "s2 bob")})
	if got.Version == 0 || got.Users != 2 {
		t.Fatalf("node a: got %+v", got)
	}
	// While a shows it, b does not.
	other := brokertest.Attend(t, b, room, chat.Share{Attendance: want, Anew: true, Came: []chat.Attendee{{Session: "s3", User: "ann"}, {Session: "s4", User: "cid"}}})
	if other.Version != 0 || other.Users != 3 || other.Connections != 4 || other.Wait <= 0 || other.Elsewhere {
		t.Errorf("node b: got %+v", other)
	}
	time.Sleep(chat.PresencePause + 10*time.Millisecond)
	if other = brokertest.Attend(t, b, room, chat.Share{Attendance: want}); other.Version != 0 || other.Wait <= 0 {
		t.Errorf("node b, while a shows what was: got %+v", other)
	}
	brokertest.Attend(t, a, room, chat.Share{Attendance: chat.Attendance{Most: 2}, Told: got.Version})
	other = brokertest.Attend(t, b, room, chat.Share{Attendance: want})
	if other.Version == 0 || fmt.Sprint(other.Joined, other.Left) != "[cid] []" {
		t.Errorf("node b, after a has shown it: got %+v", other)
	}
	// ann's third connection ends her first, at the other node.
	other = brokertest.Attend(t, b, room, chat.Share{Attendance: want, Told: other.Version, Came: []chat.Attendee{{Session: "s5", User: "ann"}}})
	if !other.Elsewhere || len(other.Ended) != 0 {
		t.Errorf("node b: got %+v", other)
	}
	if got = brokertest.Attend(t, a, room, chat.Share{Attendance: want}); !slices.Equal(got.Ended, []string{"s1"}) {
		t.Errorf("node a: got %+v", got)
	}
	// a falls silent.
	begun := time.Now()
	for {
		time.Sleep(time.Second)
		if other = brokertest.Attend(t, b, room, chat.Share{Attendance: want, Told: other.Version}); other.Connections == 3 {
			break
		}
		if time.Since(begun) > 2*chat.AttendanceLife {
			t.Fatalf("node b still counts those of a: %+v", other)
		}
	}
	if took := time.Since(begun); took < chat.AttendanceLife-2*time.Second || other.Users != 2 {
		t.Errorf("after %s: got %+v", took, other)
	}
	if got = brokertest.Attend(t, a, room, chat.Share{Attendance: want}); !got.Unknown {
		t.Errorf("node a, back: got %+v", got)
	}
	// Nothing stays when everybody has gone.
	brokertest.Attend(t, b, room, chat.Share{Attendance: want, Anew: true})
	if keys := server.Do("KEYS", keysOf(room).state+":who*"); keys != "*0" {
		t.Errorf("keys: got %v", keys)
	}
}

// TestAttendAfterOutage: nodes that were all kept from the broker do not take each other
// for dead.
func TestAttendAfterOutage(t *testing.T) {
	server := redistest.Start(t)
	ignore := func(*chat.Publication) {}
	a, b := open(t, server.URL(), "a", ignore), open(t, server.URL(), "b", ignore)
	room, want := roomOf("outage"), chat.Attendance{Presence: chat.PresenceCount}
	brokertest.Attend(t, a, room, chat.Share{Attendance: want, Anew: true, Came: brokertest.Came("s1 ann")})
	brokertest.Attend(t, b, room, chat.Share{Attendance: want, Anew: true, Came: brokertest.Came("s2 bob")})
	long := fmt.Sprint(time.Now().Add(-time.Minute).Unix())
	server.Do("HSET", keysOf(room).state+":who", "@a", long, "@b", long)
	if got := brokertest.Attend(t, a, room, chat.Share{Attendance: want}); got.Connections != 2 || got.Unknown {
		t.Errorf("node a: got %+v", got)
	}
	if got := brokertest.Attend(t, b, room, chat.Share{Attendance: want}); got.Connections != 2 || got.Unknown {
		t.Errorf("node b: got %+v", got)
	}
}

// BenchmarkAttend is a room of 10,000 users where a hundred come and go with each call, as
// in a second of a busy one.
func BenchmarkAttend(b *testing.B) {
	server := redistest.Start(b)
	for name, want := range map[string]chat.Attendance{
		"count": {Presence: chat.PresenceCount}, "list": {Presence: chat.PresenceList}, "most": {Most: 3},
	} {
		b.Run(name, func(b *testing.B) {
			broker := open(b, server.URL(), "a", func(*chat.Publication) {})
			room := roomOf("large-" + name + fmt.Sprint(b.N))
			at := 0
			next := func(n int) (came []chat.Attendee) {
				for range n {
					came = append(came, chat.Attendee{Session: fmt.Sprintf("%024x", at), User: fmt.Sprint("user-", at)})
					at++
				}
				return came
			}
			call := func(share chat.Share) {
				share.Attendance = want
				if _, err := broker.Attend(b.Context(), room, share); err != nil {
					b.Fatal(err)
				}
			}
			for i := range 20 {
				call(chat.Share{Anew: i == 0, Came: next(500)})
			}
			for b.Loop() {
				var went []string
				for i := range 100 {
					went = append(went, fmt.Sprintf("%024x", at-10_000+i))
				}
				call(chat.Share{Came: next(100), Went: went})
			}
		})
	}
}
