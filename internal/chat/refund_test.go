package chat

import (
	"testing"
	"time"
)

// Who floods one room, over many connections, takes nothing from the other rooms of the
// account: what a room's own rate refuses costs the account's quota nothing.
func TestARoomsFloodCostsOtherRoomsNothing(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		const quota = 20
		w.limit(Quotas{SendMessage: quota})
		flooded, other := w.room(t, RoomSpec{MaximumMessageRatePerSecond: 1}).ARN, w.room(t, RoomSpec{MaximumMessageRatePerSecond: 100}).ARN
		send := func(s *Session) error {
			return w.service.Act(t.Context(), s, []byte(`{"Action":"SEND_MESSAGE","Content":"a"}`), true, time.Now()).Err
		}
		join := func(room ARN) *Session {
			return w.session(t, TokenSpec{Room: room, UserID: "u", Capabilities: everything})
		}
		taken := 0
		for range 2 * quota {
			flooder := join(flooded)
			for range RequestsPerSecond {
				if err := send(flooder); err == nil {
					taken++
				} else if code(err) != TooManyRequests {
					t.Fatal(err)
				}
			}
		}
		if taken != 1 {
			t.Errorf("the flooded room took %d messages, want 1", taken)
		}
		for i := range 2 {
			session := join(other)
			for range (quota - taken) / 2 {
				if err := send(session); err != nil {
					t.Fatalf("a message in another room, connection %d: got %v", i, err)
				}
			}
		}
		last := join(other)
		for i, want := range []Code{0, TooManyRequests} { // (quota-taken) is odd
			if err := send(last); (want == 0) != (err == nil) || err != nil && code(err) != want {
				t.Errorf("at the quota's end, message %d: got %v", i, err)
			}
		}
	})
}
