package brokertest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"parlor/internal/chat"
)

// Attend calls a broker, and fails the test where that fails.
func Attend(t *testing.T, b chat.Broker, room chat.ARN, share chat.Share) chat.Standing {
	t.Helper()
	s, err := b.Attend(t.Context(), room, share)
	if err != nil {
		t.Fatalf("attend: %v", err)
	}
	slices.Sort(s.Joined)
	slices.Sort(s.Left)
	slices.Sort(s.Ended)
	return s
}

// Came are sessions, each as "SESSION USER", that came one after the other.
func Came(sessions ...string) (came []chat.Attendee) {
	for i, text := range sessions {
		session, user, _ := strings.Cut(text, " ")
		came = append(came, chat.Attendee{Session: session, User: user, Age: time.Duration(len(sessions)-i) * time.Second})
	}
	return came
}

func runAttend(t *testing.T, open func(t *testing.T) chat.Broker) {
	counting := chat.Attendance{Presence: chat.PresenceCount}
	naming := chat.Attendance{Presence: chat.PresenceList}
	check := func(t *testing.T, what string, got chat.Standing, users, connections int, shown bool) {
		t.Helper()
		if got.Users != users || got.Connections != connections || (got.Version != 0) != shown || got.Unknown {
			t.Errorf("%s: got %+v, want %d users with %d connections, to be shown: %v", what, got, users, connections, shown)
		}
	}
	t.Run("who is in a room is counted, and shown at most once a second", func(t *testing.T) {
		b, room := open(t), newRoom()
		if got := Attend(t, b, room, chat.Share{Attendance: counting, Came: Came("s1 ann")}); !got.Unknown {
			t.Errorf("a node that is not known: got %+v", got)
		}
		first := Attend(t, b, room, chat.Share{Attendance: counting, Anew: true, Came: Came("s1 ann", "s2 ann", "s3 bob")})
		check(t, "the first", first, 2, 3, true)
		next := Attend(t, b, room, chat.Share{Attendance: counting, Told: first.Version, Came: Came("s4 {cid} é")})
		check(t, "at once", next, 3, 4, false)
		if next.Wait <= 0 || next.Wait > time.Second {
			t.Errorf("wait: got %s", next.Wait)
		}
		time.Sleep(next.Wait + 10*time.Millisecond)
		last := Attend(t, b, room, chat.Share{Attendance: counting, Went: []string{"s1", "s3", "nobody"}})
		check(t, "a second later", last, 2, 2, true)
		time.Sleep(time.Second + 10*time.Millisecond)
		if quiet := Attend(t, b, room, chat.Share{Attendance: counting, Told: last.Version}); quiet.Version != 0 || quiet.Wait != 0 {
			t.Errorf("without a change: got %+v", quiet)
		}
		// Again, as when the answer was lost: nothing is counted twice.
		for range 2 {
			again := Attend(t, b, room, chat.Share{Attendance: counting, Anew: true, Came: Came("s2 ann", "s4 {cid} é", "s5 dan")})
			check(t, "anew", again, 3, 3, again.Version != 0)
		}
		Attend(t, b, room, chat.Share{Attendance: counting, Went: []string{"s2", "s4", "s5"}})
		if got := Attend(t, b, room, chat.Share{Attendance: counting}); !got.Unknown {
			t.Errorf("a room that nobody is in: got %+v", got)
		}
	})
	t.Run("who came and went since what was shown is named", func(t *testing.T) {
		b, room := open(t), newRoom()
		got := Attend(t, b, room, chat.Share{Attendance: naming, Anew: true, Partial: true, Came: Came("s1 ann")})
		check(t, "more follows", got, 1, 1, false)
		got = Attend(t, b, room, chat.Share{Attendance: naming, Came: Came("s2 ann", "s3 bob", "s4 cid")})
		if fmt.Sprint(got.Joined, got.Left, got.More) != "[ann bob cid] [] 0" {
			t.Errorf("got %+v", got)
		}
		Attend(t, b, room, chat.Share{Attendance: naming, Told: got.Version, Came: Came("s5 dan", "s6 eve"), Went: []string{"s1", "s3"}})
		time.Sleep(time.Second + 10*time.Millisecond)
		got = Attend(t, b, room, chat.Share{Attendance: naming, Came: Came("s7 bob"), Went: []string{"s5", "s4"}})
		if fmt.Sprint(got.Joined, got.Left, got.More) != "[eve] [cid] 0" || got.Version == 0 {
			t.Errorf("who did both is not named: got %+v", got)
		}
		var crowd []chat.Attendee
		for i := range 1500 {
			crowd = append(crowd, chat.Attendee{Session: fmt.Sprint("c", i), User: fmt.Sprint("user", i)})
		}
		time.Sleep(time.Second + 10*time.Millisecond)
		got = Attend(t, b, room, chat.Share{Attendance: naming, Told: got.Version, Came: crowd})
		if named := len(got.Joined); named < chat.PresenceNames || named+got.More != 1500 || got.Users != 1503 {
			t.Errorf("a crowd: got %d named, %d more, %d users", named, got.More, got.Users)
		}
	})
	t.Run("the oldest of a user's connections are to end", func(t *testing.T) {
		b, room := open(t), newRoom()
		two := chat.Attendance{Most: 2}
		ended := func(share chat.Share, want ...string) {
			t.Helper()
			got := Attend(t, b, room, share)
			if !slices.Equal(got.Ended, want) || got.Version != 0 {
				t.Errorf("got %+v, want %v to end", got, want)
			}
		}
		ended(chat.Share{Attendance: two, Anew: true, Came: Came("s1 ann", "s2 ann", "t1 bob", "t2 bob")})
		ended(chat.Share{Attendance: two, Came: []chat.Attendee{{Session: "s3", User: "ann"}}}, "s1")
		ended(chat.Share{Attendance: two}, "s1") // until it has gone
		// One that the broker hears of late goes by when it came.
		ended(chat.Share{Attendance: two, Came: []chat.Attendee{{Session: "s0", User: "ann", Age: time.Hour}}}, "s0", "s1")
		ended(chat.Share{Attendance: two, Went: []string{"s0"}}, "s1")
		ended(chat.Share{Attendance: two, Went: []string{"s1", "s2"}, Came: []chat.Attendee{{Session: "s4", User: "ann"}}})
		one := chat.Attendance{Most: 1}
		ended(chat.Share{Attendance: one, Anew: true, Came: Came("s3 ann", "s4 ann", "t1 bob", "t2 bob")}, "s3", "t1")
		ended(chat.Share{Attendance: chat.Attendance{Presence: chat.PresenceNone}, Anew: true, Came: Came("s3 ann", "s4 ann")})
		ended(chat.Share{Anew: true})
	})
}
