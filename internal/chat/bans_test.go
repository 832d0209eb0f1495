package chat

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"
)

func (w *world) restrict(t *testing.T, kind BanKind, place ARN, user string, d time.Duration) Ban {
	t.Helper()
	ban, err := w.service.restrict(t.Context(), BanSpec{Place: place, UserID: user, Duration: d, Reason: "spam", By: Actor{Principal: "boss"}}, kind)
	if err != nil {
		t.Fatal(err)
	}
	return ban
}

func TestMute(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room, other := w.room(t, RoomSpec{}).ARN, w.room(t, RoomSpec{}).ARN
		as := func(room ARN, c Capability) *Session {
			return w.session(t, TokenSpec{Room: room, UserID: "eve", Capabilities: c})
		}
		eve, mod, elsewhere := as(room, MaySendMessage), as(room, everything), as(other, MaySendMessage)
		want := func(what string, s *Session, message string) {
			t.Helper()
			time.Sleep(time.Second)
			code, got := said(t, w, s, "hello")
			if got != message || got != "" && code != Forbidden {
				t.Errorf("%s: got %v %q, want %q", what, code, got, message)
			}
		}
		want("before", eve, "")
		ban := w.restrict(t, KindMute, room, "eve", 10*time.Second)
		muted := "You are muted until " + ban.ExpireTime.Add(time.Second-time.Microsecond).Truncate(time.Second).Format(time.RFC3339) + "."
		want("in the room", eve, muted)
		want("a moderator", mod, muted)
		want("in another room", elsewhere, "")
		time.Sleep(8 * time.Second)
		want("when it has run out", eve, "")
		w.restrict(t, KindMute, room, "eve", 0)
		want("without an end", eve, "You are muted.")
		if err := w.service.UnmuteUser(t.Context(), room, "eve"); err != nil {
			t.Fatal(err)
		}
		want("taken back", eve, "")
		w.restrict(t, KindMute, ARN{Scope: testScope}, "eve", 0)
		want("everywhere", eve, "You are muted.")
		want("everywhere, in another room", elsewhere, "You are muted.")
		w.restrict(t, KindMute, room, "eve", time.Second) // the longer one counts
		time.Sleep(2 * time.Second)
		want("that of the room has run out", eve, "You are muted.")
		w.restrict(t, KindMute, ARN{Scope: Scope{Region: "eu-west-1", Account: testScope.Account}}, "ann", 0)
		if err := w.service.UnmuteUser(t.Context(), ARN{Scope: testScope}, "eve"); err != nil {
			t.Fatal(err)
		}
		want("taken back everywhere", elsewhere, "")
	})
}

func TestBannedAtToken(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room, other := w.room(t, RoomSpec{}).ARN, w.room(t, RoomSpec{}).ARN
		token := func(room ARN, user string) string {
			t.Helper()
			_, _, err := w.service.CreateChatToken(t.Context(), TokenSpec{Room: room, UserID: user})
			if err == nil {
				return ""
			}
			if AsError(err).Code != Forbidden {
				t.Errorf("got %v, want Forbidden", err)
			}
			return err.Error()
		}
		early, _ := w.token(t, w.service, TokenSpec{Room: room, UserID: "eve"})
		w.restrict(t, KindBan, room, "eve", time.Minute)
		if got := token(room, "eve"); !strings.HasPrefix(got, "The user eve is banned from "+room.String()+" until ") {
			t.Errorf("got %q", got)
		}
		claims, err := w.service.OpenToken(t.Context(), early)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.service.Admit(t.Context(), claims, 1); err == nil || AsError(err).Code != Forbidden || !strings.HasPrefix(err.Error(), "You are banned from the room until ") {
			t.Errorf("the handshake: got %v", err)
		}
		if token(other, "eve")+token(room, "Eve")+token(room, "ann") != "" {
			t.Error("somebody else, or elsewhere: refused")
		}
		w.restrict(t, KindMute, other, "eve", 0)
		if token(other, "eve") != "" {
			t.Error("a mute keeps out")
		}
		time.Sleep(time.Minute)
		if token(room, "eve") != "" {
			t.Error("when it has run out: refused")
		}
		if _, err := w.service.Admit(t.Context(), claims, 1); err != nil {
			t.Errorf("the same token: got %v: it was not spent", err)
		}
		w.restrict(t, KindBan, ARN{Scope: testScope}, "eve", 0)
		if got := token(other, "eve"); got != "The user eve is banned from "+other.String()+"." {
			t.Errorf("everywhere: got %q", got)
		}
	})
}

// A session whose end is under way says nothing more.
func TestBannedSaysNothing(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		eve := w.session(t, TokenSpec{Room: room, UserID: "eve", Capabilities: everything})
		w.restrict(t, KindBan, room, "eve", 0)
		if code, got := said(t, w, eve, "hello"); code != Forbidden || got != "You are banned from the room." {
			t.Errorf("got %v %q", code, got)
		}
	})
}

func TestBanOnDisconnect(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		var notices []Notice
		w.service.notice = func(n Notice) { notices = append(notices, n) }
		room, plain := w.tagged(t, map[string]string{"parlor:ban-on-disconnect": "10m"}), w.room(t, RoomSpec{}).ARN
		mod := w.session(t, TokenSpec{Room: room, UserID: "mod", Capabilities: everything})
		w.broker.taken()
		by := map[string]string{}
		for user, disconnect := range map[string]func() error{
			"ann": func() error {
				out := w.service.Act(t.Context(), mod, []byte(`{"Action":"DISCONNECT_USER","UserId":"ann","Reason":"spam"}`), true, time.Now())
				return out.Err
			},
			"bob": func() error {
				return w.service.DisconnectUser(t.Context(), Actor{Principal: "boss"}, room, "bob", "spam")
			},
		} {
			if err := disconnect(); err != nil {
				t.Fatal(err)
			}
			all := w.broker.taken()
			var kinds []PublicationKind
			for _, pub := range all {
				kinds = append(kinds, pub.Kind)
			}
			if !slices.Equal(kinds, []PublicationKind{PublishDisconnect, PublishBansChanged}) || all[1].UserID != user || all[1].Subject != room || all[1].Room != ControlLog {
				t.Errorf("%s: published %v, want the event, then the change", user, kinds)
			}
			bans, _, err := w.service.ListBans(t.Context(), testScope, BanFilter{UserID: user}, "", 10)
			if err != nil || len(bans) != 1 || bans[0].Kind != KindBan || bans[0].Place != room || bans[0].ExpireTime.Sub(bans[0].CreateTime) != 10*time.Minute || bans[0].Reason != "spam" {
				t.Fatalf("%s: got %+v, %v", user, bans, err)
			}
			by[user] = bans[0].CreatedBy
		}
		if by["ann"] != "mod" || by["bob"] != "boss" {
			t.Errorf("banned by %v", by)
		}
		told := 0
		for _, n := range notices {
			if n.Action == NoticeBanUser && n.Resource == room && n.UserID != "" && !n.Until.IsZero() {
				told++
			}
		}
		if told != 2 {
			t.Errorf("got %d notices of bans, want 2", told)
		}
		if err := w.service.DisconnectUser(t.Context(), Actor{}, plain, "carl", ""); err != nil {
			t.Fatal(err)
		}
		if all, _, _ := w.service.ListBans(t.Context(), testScope, BanFilter{Room: plain}, "", 10); len(all) != 0 {
			t.Errorf("a room without the tag: got %v", all)
		}
	})
}

func TestBanOnDisconnectTag(t *testing.T) {
	for value, want := range map[string]time.Duration{"1s": time.Second, "10m": 10 * time.Minute, "1h30m": 90 * time.Minute, "30d": 30 * day, "720h": 30 * day,
		"": 0, "0s": 0, "500ms": 0, "31d": 0, "720h1s": 0, "-1d": 0, "1.5d": 0, "d": 0, "10": 0, "true": 0} {
		x, err := ParseExtensions(map[string]string{"parlor:ban-on-disconnect": value})
		if want == 0 {
			if err == nil || !strings.Contains(err.Error(), "parlor:ban-on-disconnect must be a time between 1s and 30d") {
				t.Errorf("%q: got %v", value, err)
			}
		} else if err != nil || x.BanOnDisconnect != want {
			t.Errorf("%q: got %v, %v, want %s", value, x, err, want)
		}
	}
}

func TestPurgeUser(t *testing.T) {
	w := newWorld()
	kept := &memoryHistory{}
	w.service = NewService(ServiceConfig{Store: w.store, Broker: w.broker, TokenLifetime: time.Hour, History: kept.config()})
	room := w.tagged(t, map[string]string{"parlor:history": "50"})
	for i, said := range []HistoryEntry{{ID: "AAAAAAAAAAAA", UserID: "eve"}, {ID: "CCCCCCCCCCCC", UserID: "ann"}, {ID: "BBBBBBBBBBBB", UserID: "eve"}} {
		said.Room, said.Position, said.Frame, said.Accepted = room, Position{Epoch: 1, Number: uint64(i + 1)}, []byte("{}"), time.Now()
		if err := kept.AppendHistory(t.Context(), []HistoryEntry{said}); err != nil {
			t.Fatal(err)
		}
	}
	w.broker.taken()
	n, err := w.service.PurgeUser(t.Context(), room, "eve")
	all := w.broker.taken()
	if err != nil || n != 2 || len(all) != 2 {
		t.Fatalf("got %d, %v, and %d events", n, err, len(all))
	}
	for i, id := range []string{"AAAAAAAAAAAA", "BBBBBBBBBBBB"} {
		if all[i].Kind != PublishDelete || all[i].Room != room || !strings.Contains(string(all[i].Frame), `"aws:DELETE_MESSAGE"`) || !strings.Contains(string(all[i].Frame), id) {
			t.Errorf("got %s", all[i].Frame)
		}
	}
	if n, err := w.service.PurgeUser(t.Context(), room, "eve"); n != 0 || err != nil {
		t.Errorf("once more: got %d, %v", n, err)
	}
	if _, err := w.service.PurgeUser(t.Context(), ARN{Scope: testScope, Kind: KindRoom, ID: "nosuch"}, "eve"); AsError(err).Code != NotFound {
		t.Errorf("no such room: got %v", err)
	}
}

// What is remembered is forgotten by every node that hears of a change.
func TestBansOnOtherNode(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{}).ARN
	eve := w.session(t, TokenSpec{Room: room, UserID: "eve", Capabilities: everything})
	said(t, w, eve, "remembered")
	other := w.newService(time.Hour)
	deliver := func(pub *Publication) { w.service.Heard(pub) }
	w.broker.deliver = append(w.broker.deliver, deliver)
	for _, place := range []ARN{room, {Scope: testScope}} {
		if _, err := other.MuteUser(context.Background(), BanSpec{Place: place, UserID: "eve"}); err != nil {
			t.Fatal(err)
		}
		if _, got := said(t, w, eve, "hello"); got != "You are muted." {
			t.Errorf("%s: got %q", place, got)
		}
		if err := other.UnmuteUser(context.Background(), place, "eve"); err != nil {
			t.Fatal(err)
		}
		if _, got := said(t, w, eve, "hello"); got != "" {
			t.Errorf("%s, taken back: got %q", place, got)
		}
	}
}
