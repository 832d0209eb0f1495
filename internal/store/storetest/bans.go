package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"parlor/internal/chat"
)

// newBan returns a ban with every member set, made the given number of microseconds after
// noon; it is over an hour after noon.
func newBan(place chat.ARN, user string, kind chat.BanKind, us int) chat.Ban {
	return chat.Ban{
		ID: fmt.Sprintf("b%011d", lastID.Add(1)), Place: place, UserID: user, Kind: kind, Reason: "Grüße, \"1\"\n",
		CreateTime: noon.Add(time.Duration(us) * time.Microsecond), ExpireTime: noon.Add(time.Hour), CreatedBy: "arn:aws:iam::123456789012:user/moderator",
	}
}

func putBan(t *testing.T, store chat.Store, ban chat.Ban) chat.Ban {
	t.Helper()
	if err := store.PutBan(t.Context(), ban, 0); err != nil {
		t.Fatalf("PutBan(%+v): %v", ban, err)
	}
	return ban
}

func wantBansOf(t *testing.T, store chat.Store, what string, place chat.ARN, now time.Time, want ...chat.Ban) {
	t.Helper()
	got, err := store.BansOf(t.Context(), place, now)
	byID := func(a, b chat.Ban) int { return cmp.Compare(a.ID, b.ID) }
	slices.SortFunc(got, byID)
	want = slices.SortedFunc(slices.Values(want), byID)
	if diff := gocmp.Diff(got, want, same); diff != "" || err != nil {
		t.Errorf("%s: %v (-got +want)\n%s", what, err, diff)
	}
}

// testBans: a user has one ban and one mute in a place; each is replaced, taken back, runs
// out, and goes with its room.
func testBans(t *testing.T, store chat.Store) {
	ctx := t.Context()
	a, b := createRoom(t, store, newRoom(home, 1)).ARN, createRoom(t, store, newRoom(home, 2)).ARN
	all := chat.ARN{Scope: home}
	wantBansOf(t, store, "nobody was banned", a, noon)

	putBan(t, store, newBan(a, "eve", chat.KindBan, 1))
	ban := newBan(a, "eve", chat.KindBan, 2)
	ban.Reason, ban.ExpireTime = "", time.Time{}
	putBan(t, store, ban)
	mute := putBan(t, store, newBan(a, "eve", chat.KindMute, 3))
	other := putBan(t, store, newBan(a, "Eve", chat.KindBan, 3))
	elsewhere := putBan(t, store, newBan(b, "eve", chat.KindBan, 4))
	everywhere := putBan(t, store, newBan(all, "eve", chat.KindBan, 5))
	wantBansOf(t, store, "of a room", a, noon, ban, mute, other)
	wantBansOf(t, store, "of another room", b, noon, elsewhere)
	wantBansOf(t, store, "of the account", all, noon, everywhere)
	wantBansOf(t, store, "of another region", chat.ARN{Scope: chat.Scope{Region: "eu-west-2", Account: home.Account}}, noon)
	wantBansOf(t, store, "before they are over", a, noon.Add(time.Hour-time.Microsecond), ban, mute, other)
	wantBansOf(t, store, "when they are over", a, noon.Add(time.Hour), ban)

	for range 2 { // what is not there is no error
		if err := store.RemoveBan(ctx, a, "eve", chat.KindMute); err != nil {
			t.Fatal(err)
		}
		if err := store.RemoveBan(ctx, all, "eve", chat.KindBan); err != nil {
			t.Fatal(err)
		}
	}
	wantBansOf(t, store, "a mute taken back", a, noon, ban, other)
	wantBansOf(t, store, "a ban of the account taken back", all, noon)
	wantBansOf(t, store, "that of a room stays", b, noon, elsewhere)

	if err := store.PruneBans(ctx, noon.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	wantBansOf(t, store, "after pruning", a, noon, ban)
	wantBansOf(t, store, "of another room, after pruning", b, noon)
	if err := store.DeleteRoom(ctx, a); err != nil {
		t.Fatal(err)
	}
	wantBansOf(t, store, "of a room that is gone", a, noon)
	wantError(t, "a ban in a room that is gone", store.PutBan(ctx, ban, 0), chat.NotFound, a)
	lc := chat.ARN{Scope: home, Kind: chat.KindLoggingConfiguration, ID: "x"}
	wantError(t, "a ban in what is no room", store.PutBan(ctx, newBan(lc, "eve", chat.KindBan, 1), 0), chat.NotFound, lc)
}

// testBanQuota: a place has as many as may be, and none more, whoever asks at once.
func testBanQuota(t *testing.T, store chat.Store) {
	ctx := t.Context()
	room, other := createRoom(t, store, newRoom(home, 1)).ARN, createRoom(t, store, newRoom(home, 2)).ARN
	const quota = 3
	putBan(t, store, newBan(other, "eve", chat.KindBan, 1))
	putBan(t, store, newBan(chat.ARN{Scope: home}, "eve", chat.KindBan, 1))
	var wg sync.WaitGroup
	errs := make([]error, 2*quota)
	for i := range errs {
		wg.Go(func() { errs[i] = store.PutBan(ctx, newBan(room, fmt.Sprint(i), chat.KindBan, i), quota) })
	}
	wg.Wait()
	refused := 0
	for _, err := range errs {
		if err != nil {
			refused++
			wantError(t, "one too many", err, chat.QuotaExceeded, room)
		}
	}
	if refused != quota {
		t.Errorf("got %d refused, want %d", refused, quota)
	}
	bans, err := store.BansOf(ctx, room, noon)
	if err != nil || len(bans) != quota {
		t.Fatalf("got %d bans, error %v, want %d", len(bans), err, quota)
	}
	if err := store.PutBan(ctx, newBan(room, bans[0].UserID, chat.KindBan, 9), quota); err != nil {
		t.Errorf("one that is replaced: got %v", err)
	}
}

// testBanList: the last is first; every filter, alone and with others, page by page.
func testBanList(t *testing.T, store chat.Store) {
	rooms := []chat.ARN{createRoom(t, store, newRoom(home, 1)).ARN, createRoom(t, store, newRoom(home, 2)).ARN}
	abroad := chat.Scope{Region: "eu-west-2", Account: home.Account}
	places := append(slices.Clone(rooms), chat.ARN{Scope: home}, chat.ARN{Scope: abroad})
	var all []chat.Ban
	for i := range 40 {
		kind := chat.KindBan
		if i%3 == 0 {
			kind = chat.KindMute
		}
		ban := newBan(places[i%4], fmt.Sprintf("user %d", i%5), kind, i/2)
		all = slices.DeleteFunc(all, func(b chat.Ban) bool { return b.Place == ban.Place && b.UserID == ban.UserID && b.Kind == ban.Kind })
		all = append(all, putBan(t, store, ban))
	}
	gone := newBan(rooms[0], "gone", chat.KindBan, 50)
	gone.ExpireTime = noon
	putBan(t, store, gone)
	slices.SortFunc(all, func(a, b chat.Ban) int { return -cmp.Or(a.CreateTime.Compare(b.CreateTime), cmp.Compare(a.ID, b.ID)) })
	for _, filter := range []chat.BanFilter{
		{}, {Room: rooms[0]}, {UserID: "user 1"}, {Kind: chat.KindMute}, {Room: rooms[1], UserID: "user 1"}, {Room: rooms[1], Kind: chat.KindBan},
		{UserID: "user 2", Kind: chat.KindBan}, {Room: rooms[0], UserID: "user 0", Kind: chat.KindMute}, {UserID: "nobody"}, {Room: chat.ARN{Scope: abroad, Kind: chat.KindRoom, ID: rooms[0].ID}},
	} {
		var want []chat.Ban
		for _, b := range all {
			if b.Place.Scope == home && (filter.Room == chat.ARN{} || filter.Room == b.Place) && (filter.UserID == "" || filter.UserID == b.UserID) && (filter.Kind == "" || filter.Kind == b.Kind) {
				want = append(want, b)
			}
		}
		for _, limit := range []int{1, 3, 100} {
			var got []chat.Ban
			for at := (chat.Cursor{}); ; {
				page, err := store.Bans(t.Context(), home, filter, at, limit, noon)
				if err != nil || len(page) > limit {
					t.Fatalf("Bans(%+v): %d of %d, %v", filter, len(page), limit, err)
				}
				got = append(got, page...)
				if len(page) < limit {
					break
				}
				at = chat.Cursor{UpdateTime: page[limit-1].CreateTime, ID: page[limit-1].ID}
			}
			if diff := gocmp.Diff(got, want, same); diff != "" {
				t.Errorf("%+v by %d: (-got +want)\n%s", filter, limit, diff)
			}
		}
	}
}

// testBansPrune: more than go in one step go, and no other.
func testBansPrune(t *testing.T, store chat.Store) {
	room := createRoom(t, store, newRoom(home, 1)).ARN
	for i := range 450 {
		putBan(t, store, newBan(room, fmt.Sprint(i), chat.KindBan, i))
	}
	kept := newBan(room, "kept", chat.KindBan, 1)
	kept.ExpireTime = noon.Add(time.Hour + time.Microsecond)
	putBan(t, store, kept)
	if err := errors.Join(store.PruneBans(t.Context(), noon.Add(time.Hour)), store.PruneBans(t.Context(), noon)); err != nil {
		t.Fatal(err)
	}
	wantBansOf(t, store, "after pruning", room, noon.Add(-time.Hour), kept)
}
