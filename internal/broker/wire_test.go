package broker

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// FuzzEntry: what is read of an entry is written again as the same, whatever its form.
func FuzzEntry(f *testing.F) {
	room := testRoom()
	for _, pub := range []*chat.Publication{
		{},
		{Kind: chat.PublishDisconnect, Frame: []byte(`{"a":"é"}`), Accepted: time.UnixMicro(-1), UserID: "user", Reason: "because"},
		{Kind: chat.PublishLogsChanged, Subject: room, Frame: []byte{}},
		{Kind: chat.PublishBansChanged, Subject: chat.ARN{Scope: room.Scope}, UserID: "user", Reason: "because"},
	} {
		f.Add("1 7 9 id 0 " + string(appendPublication(nil, pub)))
	}
	f.Add("1 7 9 id 1 ")
	f.Add("2 7 9 id 1 x")
	f.Add("1 7 9007199254740992 id 0 \x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := parseEntry(room, text)
		if err != nil {
			return
		}
		if e.at.Number == 0 || e.at.Number > maxNumber || e.at.Epoch > maxNumber {
			t.Fatalf("got %v", e.at)
		}
		head, _, _, err := parseHead(text)
		if err != nil || head.at != e.at {
			t.Fatalf("the head: got %v, %v, want %v", head.at, err, e.at)
		}
		again, err := parsePublication(string(appendPublication(nil, e.pub)))
		if err != nil {
			t.Fatal(err)
		}
		again.Room, again.ID, again.Position = e.pub.Room, e.pub.ID, e.pub.Position
		if diff := cmp.Diff(again, e.pub); diff != "" {
			t.Fatalf("(-got +want)\n%s", diff)
		}
	})
}

// TestWholeScope: a subject that is all of a scope arrives as such, and an ARN that only
// looks like one does not.
func TestWholeScope(t *testing.T) {
	pub := &chat.Publication{Kind: chat.PublishBansChanged, Subject: chat.ARN{Scope: testRoom().Scope}, UserID: "user", Reason: "because", Accepted: time.UnixMicro(1)}
	got, err := parsePublication(string(appendPublication(nil, pub)))
	if diff := cmp.Diff(got, pub); diff != "" || err != nil {
		t.Errorf("%v (-got +want)\n%s", err, diff)
	}
	for _, text := range []string{":/", "arn:aws:ivschat:/", "arn:aws:ivschat:us-west-2:/", "arn:aws:ivschat:us-west-2:x:/", "arn:aws:ivschat:us-west-2:123456789012:room/"} {
		if arn, err := parseSubject(text); err == nil {
			t.Errorf("%q: got %v, want an error", text, arn)
		}
	}
}
