package chat

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// noted has a world's notices kept.
func noted(w *world) *[]Notice {
	var all []Notice
	w.service.notice = func(n Notice) { all = append(all, n) }
	return &all
}

// A user id may have 128 characters, whatever they weigh: whoever was disconnected is named
// whole. What is too long was refused, and is cut.
func TestNoticeNamesUserWhole(t *testing.T) {
	for name, c := range map[string]struct{ user, want, refused string }{
		"the longest":       {strings.Repeat("語", MaxUserIDLength), strings.Repeat("語", MaxUserIDLength), ""},
		"one more":          {strings.Repeat("語", MaxUserIDLength+1), strings.Repeat("語", MaxUserIDLength), "TooLarge"},
		"not a character":   {"a\xffb", "a\ufffdb", ""},
		"as long as can be": {strings.Repeat("x", 2000), strings.Repeat("x", MaxUserIDLength), "TooLarge"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld()
			session := w.session(t, TokenSpec{Room: w.room(t, RoomSpec{}).ARN, UserID: "mod", Capabilities: everything})
			all := noted(w)
			w.service.Act(t.Context(), session, fmt.Appendf(nil, `{"Action":"DISCONNECT_USER","UserId":"%s"}`, c.user), true, time.Now())
			if len(*all) != 1 || (*all)[0].UserID != c.want || (*all)[0].Refused != c.refused {
				t.Errorf("got %+v, want %q, refused %q", *all, c.want, c.refused)
			}
		})
	}
}

// Anybody may ask for what a token does not grant, ten times a second for as long as the
// session lasts. That is told once, or it would fill the disk.
func TestNoticeOfWhatTokenDoesNotGrant(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		viewer := w.session(t, TokenSpec{Room: room, UserID: "viewer"})
		mod := w.session(t, TokenSpec{Room: room, UserID: "mod", Capabilities: everything})
		all := noted(w)
		for range 5 {
			for _, action := range []string{ActionDeleteMessage, ActionDisconnectUser} {
				for _, s := range []*Session{viewer, mod} {
					w.service.Act(t.Context(), s, fmt.Appendf(nil, `{"Action":%q,"Id":"a","UserId":"a"}`, action), true, time.Now())
				}
			}
			time.Sleep(time.Second)
		}
		count := map[string]int{}
		for _, n := range *all {
			count[n.By.UserID+" "+n.Action+" "+n.Refused]++
		}
		want := map[string]int{"viewer DELETE_MESSAGE Forbidden": 1, "viewer DISCONNECT_USER Forbidden": 1, "mod DELETE_MESSAGE ": 5, "mod DISCONNECT_USER ": 5}
		if fmt.Sprint(count) != fmt.Sprint(want) {
			t.Errorf("got %v, want %v", count, want)
		}
	})
}
