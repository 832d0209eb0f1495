package chat

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func (w *world) token(t testing.TB, s *Service, spec TokenSpec) (string, Claims) {
	t.Helper()
	token, claims, err := s.CreateChatToken(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	return token, claims
}

func TestCreateChatToken(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		time.Sleep(1999 * time.Millisecond)
		now := time.Date(2000, 1, 1, 0, 0, 1, 0, time.UTC)
		for _, test := range []struct {
			name           string
			lifetime       time.Duration
			session        time.Duration
			token, expires time.Duration // from now
		}{
			{"the default session", time.Hour, 0, time.Hour, time.Hour},
			{"a session longer than tokens live", time.Hour, 3 * time.Hour, time.Hour, 3 * time.Hour},
			{"a session shorter than tokens live", time.Hour, time.Minute, time.Minute, time.Minute},
			{"tokens of a minute", time.Minute, 0, time.Minute, time.Hour},
		} {
			spec := TokenSpec{Room: room, UserID: "é", Capabilities: MayDeleteMessage, SessionDuration: test.session, Attributes: map[string]string{"a": "b"}}
			service := w.newService(test.lifetime)
			token, claims := w.token(t, service, spec)
			want := Claims{ID: claims.ID, Room: room, UserID: "é", Capabilities: MayDeleteMessage, Attributes: map[string]string{"a": "b"},
				TokenExpires: now.Add(test.token), SessionExpires: now.Add(test.expires)}
			if diff := cmp.Diff(want, claims); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, diff)
			}
			opened, err := service.OpenToken(t.Context(), token)
			if diff := cmp.Diff(want, opened); err != nil || diff != "" {
				t.Errorf("%s, opened: %v (-want +got):\n%s", test.name, err, diff)
			}
		}
		if _, _, err := w.service.CreateChatToken(t.Context(), TokenSpec{Room: ARN{Scope: testScope, Kind: KindRoom, ID: "missing"}}); code(err) != NotFound {
			t.Errorf("a room that does not exist: got %v, want NotFound", err)
		}
		if _, claims := w.token(t, w.service, TokenSpec{Room: room, UserID: "u"}); claims.Attributes == nil {
			t.Error("no attributes: got nil, want an empty map")
		}
	})
}

func TestTokenExpires(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		service := w.newService(time.Minute)
		token, claims := w.token(t, service, TokenSpec{Room: w.room(t, RoomSpec{}).ARN, UserID: "u"})
		time.Sleep(time.Minute - 1)
		if _, err := service.OpenToken(t.Context(), token); err != nil {
			t.Errorf("in its last moment: got %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := service.OpenToken(t.Context(), token); err != errToken || !time.Now().Equal(claims.TokenExpires) {
			t.Errorf("at %v: got %v, want %v", time.Now(), err, errToken)
		}
	})
}

func TestTokenOpensOneSession(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{}).ARN
	other := w.newService(time.Hour)
	token, _ := w.token(t, w.service, TokenSpec{Room: room, UserID: "u"})
	var wg sync.WaitGroup
	var mu sync.Mutex
	admitted, refused := 0, 0
	for i := range 16 {
		service := []*Service{w.service, other}[i%2]
		wg.Go(func() {
			claims, err := service.OpenToken(t.Context(), token)
			if err != nil {
				t.Error(err)
				return
			}
			_, err = service.Admit(t.Context(), claims, rand.Uint64())
			mu.Lock()
			defer mu.Unlock()
			switch err {
			case nil:
				admitted++
			case errToken:
				refused++
			default:
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if admitted != 1 || refused != 15 {
		t.Errorf("admitted %d and refused %d of 16, want 1 and 15", admitted, refused)
	}
}

func TestAdmit(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{}).ARN
	token, claims := w.token(t, w.service, TokenSpec{Room: room, UserID: "u", Capabilities: MaySendMessage, Attributes: map[string]string{"b": "2", "a": "1"}})
	session, err := w.service.Admit(t.Context(), claims, rand.Uint64())
	if err != nil {
		t.Fatal(err)
	}
	if *session.Room != room || session.UserID != "u" || session.Capabilities != MaySendMessage || session.Expires != claims.SessionExpires.Unix() {
		t.Errorf("got %+v", session)
	}
	if got, want := session.sender, `{"UserId":"u","Attributes":{"a":"1","b":"2"}}`; got != want {
		t.Errorf("sender: got %s, want %s", got, want)
	}
	if _, err := w.service.OpenToken(t.Context(), token); err != nil {
		t.Errorf("opening alone spends nothing and asks nobody: got %v", err)
	}

	t.Run("a room that is gone leaves the token unspent", func(t *testing.T) {
		_, claims := w.token(t, w.service, TokenSpec{Room: room, UserID: "u"})
		if err := w.service.DeleteRoom(t.Context(), room); err != nil {
			t.Fatal(err)
		}
		if _, err := w.service.Admit(t.Context(), claims, rand.Uint64()); code(err) != NotFound {
			t.Errorf("got %v, want NotFound", err)
		}
		if _, spent := w.store.spent[claims.ID]; spent {
			t.Error("the token was spent")
		}
	})
}

// TestUsedTokensAreRememberedWhileTheyOpen: clocks of nodes differ; a fast one must
// not make the others forget that a token was used.
func TestUsedTokensAreRememberedWhileTheyOpen(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		_, claims := w.token(t, w.service, TokenSpec{Room: w.room(t, RoomSpec{}).ARN, UserID: "u"})
		if _, err := w.service.Admit(t.Context(), claims, rand.Uint64()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(59 * time.Minute)
		fast := time.Now().Add(10 * time.Minute)
		if err := w.store.PruneTokens(t.Context(), fast.Add(-keyLife), fast); err != nil {
			t.Fatal(err)
		}
		if _, err := w.service.Admit(t.Context(), claims, rand.Uint64()); err != errToken {
			t.Errorf("again, after a fast clock pruned: got %v, want %v", err, errToken)
		}
		time.Sleep(3 * time.Hour)
		if err := w.service.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(w.store.spent); got != 0 {
			t.Errorf("marks left in the end: got %d, want 0", got)
		}
	})
}

const tokenCharacters = "!#$%&'*+-.^_|~`0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz" // RFC 7230 3.2.6

func TestTokenForm(t *testing.T) {
	w := newWorld()
	// The largest claims there can be: what counts most against 1,024 bytes of
	// attributes is many of them.
	attributes := map[string]string{"": ""}
	for size, i := 0, 0; size < MaxAttributesSize; i++ {
		key := string([]byte{byte(i % 128)})
		if i >= 128 {
			key = string([]byte{byte(i / 128), byte(i % 128)})
		}
		if size += len(key); size <= MaxAttributesSize {
			attributes[key] = ""
		}
	}
	arn := ARN{Scope: Scope{Region: strings.Repeat("r", 32), Account: strings.Repeat("1", 36)}, Kind: KindRoom, ID: strings.Repeat("i", 36)}
	if got := len(arn.String()); got < MaxARNLength-5 || got > MaxARNLength {
		t.Fatalf("ARN: got %d characters, want about %d", got, MaxARNLength)
	}
	for _, claims := range []Claims{
		{Room: arn, UserID: strings.Repeat("😀", MaxUserIDLength), Capabilities: everything, Attributes: attributes},
		{Room: arn, UserID: strings.Repeat("😀", MaxUserIDLength), Attributes: map[string]string{"k": strings.Repeat("v", MaxAttributesSize-1)}},
		{Room: ARN{Scope: testScope, Kind: KindRoom, ID: NewID()}, UserID: "u"},
	} {
		claims.TokenExpires = time.Now().Add(time.Hour).Truncate(time.Second).UTC()
		claims.SessionExpires = claims.TokenExpires
		token, err := w.service.sealer.Seal(t.Context(), &claims)
		if err != nil {
			t.Fatal(err)
		}
		if len(token) > MaxTokenLength {
			t.Errorf("length: got %d, want at most %d", len(token), MaxTokenLength)
		}
		if i := strings.IndexFunc(token, func(r rune) bool { return !strings.ContainsRune(tokenCharacters, r) }); i >= 0 {
			t.Errorf("got %q, which no header token may have", token[i])
		}
		got, err := w.service.OpenToken(t.Context(), token)
		if claims.Attributes == nil {
			claims.Attributes = map[string]string{}
		}
		if diff := cmp.Diff(claims, got); err != nil || diff != "" {
			t.Errorf("opened: %v (-want +got):\n%s", err, diff)
		}
	}
}

func TestTokenGarbled(t *testing.T) { virtually(t, testTokenGarbled) }

func testTokenGarbled(t *testing.T, w *world) {
	token, _ := w.token(t, w.service, TokenSpec{Room: w.room(t, RoomSpec{}).ARN, UserID: "user", Attributes: map[string]string{"a": "b"}})
	refused := func(what, token string) {
		t.Helper()
		if _, err := w.service.OpenToken(t.Context(), token); err != errToken {
			t.Fatalf("%s %q: got %v, want %v", what, token, err, errToken)
		}
	}
	eachGarbled(token, refused)
	refused("nothing", "")
	refused("too long", strings.Repeat("A", MaxTokenLength+1))
	refused("padded", token+"==")
	// Whole bytes too: base64 has six bits a character.
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for i := range raw {
		for bit := range 8 {
			raw[i] ^= 1 << bit
			refused("one bit changed", base64.RawURLEncoding.EncodeToString(raw))
			raw[i] ^= 1 << bit
		}
		refused("cut", base64.RawURLEncoding.EncodeToString(raw[:i]))
	}
	refused("longer", base64.RawURLEncoding.EncodeToString(append(raw, 0)))
	if _, err := w.service.OpenToken(t.Context(), token); err != nil {
		t.Errorf("the token itself: got %v", err)
	}
}

func TestTokenOfAnotherInstallation(t *testing.T) {
	ours, theirs := newWorld(), newWorld()
	token, _ := theirs.token(t, theirs.service, TokenSpec{Room: theirs.room(t, RoomSpec{}).ARN, UserID: "u"})
	if _, err := ours.service.OpenToken(t.Context(), token); err != errToken {
		t.Errorf("got %v, want %v", err, errToken)
	}
	// Not even under a key of the same id.
	ours.store.keys = []TokenKey{{ID: theirs.store.keys[0].ID, Created: time.Now(), Secret: make([]byte, 32)}}
	if _, err := ours.newService(time.Hour).OpenToken(t.Context(), token); err != errToken {
		t.Errorf("the same key id: got %v, want %v", err, errToken)
	}
}

func TestTokensOfEitherNodeOpenAtBoth(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		nodes := []*Service{w.service, w.newService(time.Hour), w.newService(time.Hour)}
		for day := range 3 {
			for i, from := range nodes {
				token, _ := w.token(t, from, TokenSpec{Room: room, UserID: "u"})
				for j, to := range nodes {
					if _, err := to.OpenToken(t.Context(), token); err != nil {
						t.Errorf("day %d, from %d to %d: %v", day, i, j, err)
					}
				}
			}
			if got, want := len(w.store.keys), day+1; got != want {
				t.Errorf("day %d: got %d keys, want %d: one node makes it, the others find it", day, got, want)
			}
			time.Sleep(keyRotation)
		}
	})
}

func TestKeyRotation(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		spec := TokenSpec{Room: room, UserID: "u", SessionDuration: MaxSessionDuration}
		service := w.newService(MaxSessionDuration)
		w.token(t, service, spec)
		time.Sleep(keyRotation - 1)
		last, _ := w.token(t, service, spec)
		if got := len(w.store.keys); got != 1 {
			t.Errorf("keys in the last moment: got %d, want 1", got)
		}
		time.Sleep(time.Nanosecond)
		w.token(t, service, spec)
		if got := len(w.store.keys); got != 2 {
			t.Errorf("keys a moment later: got %d, want 2", got)
		}
		time.Sleep(MaxSessionDuration - 2*time.Second)
		if err := service.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*Service{"the node that sealed it": service, "one that started since": w.newService(time.Hour)} {
			if _, err := s.OpenToken(t.Context(), last); err != nil {
				t.Errorf("%s: the last token of the first day: got %v", name, err)
			}
		}
		time.Sleep(time.Hour + 3*time.Second)
		if err := service.Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(w.store.keys); got != 1 {
			t.Errorf("keys after the first one's life: got %d, want 1", got)
		}
	})
}

// TestKeyRotationRace has two nodes find the ring too old at the same time.
// TestStolenKeyOpensForADay forges tokens with a key of the ring: those of a retired
// key do not open, nor do sessions longer than there are.
func TestStolenKeyOpensForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		key, err := w.service.sealer.sealingKey(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		forge := func(session time.Duration) string {
			claims := Claims{Room: ARN{testScope, KindRoom, "g1H2I3j4k5L6"}, UserID: "u",
				TokenExpires: time.Now().Add(time.Minute), SessionExpires: time.Now().Add(session)}
			head := make([]byte, tokenHeader)
			head[0] = tokenVersion
			binary.BigEndian.PutUint32(head[1:], key.id)
			return base64.RawURLEncoding.EncodeToString(key.aead.Seal(head, head[5:], appendClaims(nil, &claims), head[:5]))
		}
		for _, test := range []struct {
			age, session time.Duration
			opens        bool
		}{
			{0, MaxSessionDuration, true},
			{0, MaxSessionDuration + clockSlack, true},
			{0, MaxSessionDuration + clockSlack + time.Second, false},
			{keyLife, time.Hour, true},
			{keyLife + time.Second, time.Hour, false},
		} {
			time.Sleep(time.Until(key.created.Add(test.age)))
			_, err := w.service.OpenToken(t.Context(), forge(test.session))
			if got := err == nil; got != test.opens {
				t.Errorf("key of %v, session of %v: got %v, want opened %v", test.age, test.session, err, test.opens)
			}
		}
	})
}

func TestKeyRotationRace(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{}).ARN
	nodes := []*Service{w.service, w.newService(time.Hour)}
	var both, done sync.WaitGroup
	both.Add(2)
	w.store.onAddKey = func() { both.Done(); both.Wait() }
	tokens := make([]string, 2)
	for i, node := range nodes {
		done.Go(func() { tokens[i], _ = w.token(t, node, TokenSpec{Room: room, UserID: "u"}) })
	}
	done.Wait()
	if got := len(w.store.keys); got != 2 {
		t.Fatalf("keys: got %d, want 2", got)
	}
	for i, node := range nodes {
		for j, token := range tokens {
			if _, err := node.OpenToken(t.Context(), token); err != nil {
				t.Errorf("node %d, token of %d: got %v", i, j, err)
			}
		}
	}
	w.store.onAddKey = nil
	for _, node := range nodes {
		w.token(t, node, TokenSpec{Room: room, UserID: "u"})
	}
	if got := len(w.store.keys); got != 2 {
		t.Errorf("keys afterwards: got %d, want 2", got)
	}
}

func TestUnknownKeyReloadIsBounded(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		room := w.room(t, RoomSpec{}).ARN
		known, _ := w.token(t, w.service, TokenSpec{Room: room, UserID: "u"})
		raw, _ := base64.RawURLEncoding.DecodeString(known)
		_, before := w.store.counts()
		begun := time.Now()
		for range 30 {
			var flood sync.WaitGroup
			for range 20 {
				binary.BigEndian.PutUint32(raw[1:], binary.BigEndian.Uint32(raw[1:])+1) // another key id each time
				forged := base64.RawURLEncoding.EncodeToString(raw)
				flood.Go(func() {
					if _, err := w.service.OpenToken(t.Context(), forged); err != errToken {
						t.Errorf("got %v, want %v", err, errToken)
					}
				})
			}
			if _, err := w.service.OpenToken(t.Context(), known); err != nil {
				t.Fatal(err)
			}
			flood.Wait()
		}
		took := time.Since(begun)
		if _, after := w.store.counts(); after-before > int(took/reloadEvery)+1 {
			t.Errorf("reads of the key ring in %v: got %d, want one each %v", took, after-before, reloadEvery)
		}
		// A new key of another node is found, whoever floods us.
		other := w.newService(time.Hour)
		time.Sleep(keyRotation)
		w.service.OpenToken(t.Context(), base64.RawURLEncoding.EncodeToString(raw))
		fresh, _ := w.token(t, other, TokenSpec{Room: room, UserID: "u"})
		if _, err := w.service.OpenToken(t.Context(), fresh); err != nil {
			t.Errorf("a token under a new key: got %v", err)
		}
	})
}

// TestUnknownKeyWhileTheStoreFails: a token whose key could not be looked for is not
// refused as forged, nor are those that waited for the same look.
func TestUnknownKeyWhileTheStoreFails(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		fault := errors.New("disk on fire")
		room := w.room(t, RoomSpec{}).ARN
		w.token(t, w.service, TokenSpec{Room: room, UserID: "u"})
		time.Sleep(keyRotation)
		fresh, _ := w.token(t, w.newService(time.Hour), TokenSpec{Room: room, UserID: "u"})
		w.store.fails = fault
		var all sync.WaitGroup
		for range 5 {
			all.Go(func() {
				if _, err := w.service.OpenToken(t.Context(), fresh); !errors.Is(err, fault) {
					t.Errorf("got %v, want the store's error", err)
				}
			})
		}
		all.Wait()
		w.store.fails = nil
		if _, err := w.service.OpenToken(t.Context(), fresh); err != nil {
			t.Errorf("when the store works again: got %v", err)
		}
	})
}

func TestSealerFaults(t *testing.T) {
	fault := errors.New("disk on fire")
	w := newWorld()
	token, claims := w.token(t, w.service, TokenSpec{Room: w.room(t, RoomSpec{}).ARN, UserID: "u"})
	fresh := w.newService(time.Hour)
	w.store.fails = fault
	if err := second(w.service.OpenToken(t.Context(), token)); err != nil {
		t.Errorf("a known key needs no store: got %v", err)
	}
	for name, err := range map[string]error{
		"open": second(fresh.OpenToken(t.Context(), token)),
		"seal": second(fresh.sealer.Seal(t.Context(), &claims)),
	} {
		if !errors.Is(err, fault) || code(err) != -1 {
			t.Errorf("%s: got %v, want the store's error and nothing for clients", name, err)
		}
	}
	w.store.fails = nil
	if err := second(fresh.OpenToken(t.Context(), token)); err != nil {
		t.Errorf("when the store works again: got %v", err)
	}
	w.store.keys = []TokenKey{{ID: 1, Created: time.Now(), Secret: []byte("short")}}
	if _, err := w.newService(time.Hour).sealer.Seal(t.Context(), &claims); err == nil || code(err) != -1 || !strings.Contains(err.Error(), "token key 1") {
		t.Errorf("a key that is none: got %v", err)
	}
}

func TestSealerAddsAKeyOnceInFailure(t *testing.T) {
	w := newWorld()
	fault := errors.New("disk on fire")
	w.store.onAddKey = func() {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		w.store.fails = fault
	}
	if _, err := w.service.sealer.Seal(t.Context(), &Claims{}); !errors.Is(err, fault) || !strings.Contains(fmt.Sprint(err), "add a token key") {
		t.Errorf("got %v", err)
	}
}

func TestClaimsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		moment := rapid.Custom(func(t *rapid.T) time.Time { return time.Unix(rapid.Int64().Draw(t, "unix"), 0).UTC() })
		want := Claims{
			Room: ARN{Kind: KindRoom, ID: rapid.String().Draw(t, "id"),
				Scope: Scope{Region: rapid.String().Draw(t, "region"), Account: rapid.String().Draw(t, "account")}},
			UserID:         rapid.String().Draw(t, "user"),
			Capabilities:   Capability(rapid.Byte().Draw(t, "capabilities")),
			Attributes:     rapid.MapOf(rapid.String(), rapid.String()).Draw(t, "attributes"),
			TokenExpires:   moment.Draw(t, "token"),
			SessionExpires: moment.Draw(t, "session"),
		}
		b := appendClaims(nil, &want)
		got, err := parseClaims(b)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := parseClaims(b[:cut]); err != errClaims {
			t.Errorf("cut: got %v, want %v", err, errClaims)
		}
		if _, err := parseClaims(append(b, 0)); err != errClaims {
			t.Errorf("longer: got %v, want %v", err, errClaims)
		}
	})
}

// TestDescribeToken: a token can be read before and after it was used and when it is over,
// as long as its key is kept; and that does not use it.
func TestDescribeToken(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		service := w.newService(time.Minute)
		token, want := w.token(t, service, TokenSpec{
			Room: w.room(t, RoomSpec{}).ARN, UserID: "u", Capabilities: MaySendMessage, Attributes: map[string]string{"a": "b"}, SessionDuration: 2 * time.Minute})
		check := func(when string, s *Service, wantSpent bool) {
			t.Helper()
			got, spent, err := s.DescribeToken(t.Context(), token)
			if diff := cmp.Diff(want, got); err != nil || spent != wantSpent || diff != "" {
				t.Errorf("%s: got spent %v, error %v, claims (-want +got):\n%s", when, spent, err, diff)
			}
		}
		check("fresh", service, false)
		check("at another node", w.newService(time.Minute), false)
		claims, err := service.OpenToken(t.Context(), token)
		if err != nil {
			t.Fatal(err)
		}
		check("opened", service, false)
		if _, err := service.Admit(t.Context(), claims, 1); err != nil {
			t.Fatalf("a token that was described: %v", err)
		}
		check("used", service, true)
		time.Sleep(time.Minute)
		check("over", service, true)
		time.Sleep(time.Minute)
		check("its session over too", service, true)
		if _, err := service.OpenToken(t.Context(), token); err != errToken {
			t.Errorf("a token that is over and was described: got %v, want %v", err, errToken)
		}
		time.Sleep(keyLife - 2*time.Minute)
		check("in its key's last moment", service, true)
		time.Sleep(time.Nanosecond)
		if _, _, err := service.DescribeToken(t.Context(), token); AsError(err).Code != BadRequest {
			t.Errorf("a token whose key is gone: got %v, want BadRequest", err)
		}
	})
}

func TestDescribeTokenFaults(t *testing.T) {
	w := newWorld()
	token, _ := w.token(t, w.service, TokenSpec{Room: w.room(t, RoomSpec{}).ARN, UserID: "u"})
	for name, text := range map[string]string{"empty": "", "cut": token[:len(token)-1], "turned": "_" + token[1:], "long": strings.Repeat("A", MaxTokenLength+1)} {
		_, _, err := w.service.DescribeToken(t.Context(), text)
		e := AsError(err)
		if e.Code != BadRequest || len(e.Fields) != 1 || e.Fields[0].Name != "token" {
			t.Errorf("%s: got %v, want a fault of token", name, err)
		}
		if text != "" && strings.Contains(e.Message, text) {
			t.Errorf("%s: the token is in the error", name)
		}
	}
	w.store.fails = errors.New("no disk")
	if claims, _, err := w.service.DescribeToken(t.Context(), token); err == nil || AsError(err).Code != Internal {
		t.Errorf("a store that fails: got %v, %v", claims, err)
	}
}
