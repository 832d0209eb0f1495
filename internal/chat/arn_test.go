package chat

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

func TestParseARN(t *testing.T) {
	room := ARN{Scope: testScope, Kind: KindRoom, ID: "g1H2I3j4k5L6"}
	for _, test := range []struct {
		name, text string
		want       ARN // zero: refused
	}{
		{"room", "arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6", room},
		{"logging configuration", "arn:aws:ivschat:us-west-2:123456789012:logging-configuration/g1H2I3j4k5L6", ARN{testScope, KindLoggingConfiguration, "g1H2I3j4k5L6"}},
		{"an id of another length, with hyphens", "arn:aws:ivschat:a:1:room/-", ARN{Scope{"a", "1"}, KindRoom, "-"}},
		{"the longest", "arn:aws:ivschat:us-west-2:123456789012:room/" + strings.Repeat("i", 84), ARN{testScope, KindRoom, strings.Repeat("i", 84)}},
		{"the longest region", "arn:aws:ivschat:" + strings.Repeat("r", 32) + ":1:room/i", ARN{Scope{strings.Repeat("r", 32), "1"}, KindRoom, "i"}},

		{"empty", "", ARN{}},
		{"too long", "arn:aws:ivschat:us-west-2:123456789012:room/" + strings.Repeat("i", 85), ARN{}},
		{"region too long", "arn:aws:ivschat:" + strings.Repeat("r", 33) + ":1:room/i", ARN{}},
		{"another service", "arn:aws:ivs:us-west-2:123456789012:channel/g1H2I3j4k5L6", ARN{}},
		{"another partition", "arn:aws-cn:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6", ARN{}},
		{"another kind", "arn:aws:ivschat:us-west-2:123456789012:stage/g1H2I3j4k5L6", ARN{}},
		{"no region", "arn:aws:ivschat::123456789012:room/g1H2I3j4k5L6", ARN{}},
		{"region in capitals", "arn:aws:ivschat:US-WEST-2:123456789012:room/g1H2I3j4k5L6", ARN{}},
		{"no account", "arn:aws:ivschat:us-west-2::room/g1H2I3j4k5L6", ARN{}},
		{"account of letters", "arn:aws:ivschat:us-west-2:abc:room/g1H2I3j4k5L6", ARN{}},
		{"no id", "arn:aws:ivschat:us-west-2:123456789012:room/", ARN{}},
		{"id with a slash", "arn:aws:ivschat:us-west-2:123456789012:room/a/b", ARN{}},
		{"id with a line break", "arn:aws:ivschat:us-west-2:123456789012:room/a\n", ARN{}},
		{"id with an underscore", "arn:aws:ivschat:us-west-2:123456789012:room/a_b", ARN{}},
		{"letter beyond ASCII", "arn:aws:ivschat:us-west-2:123456789012:room/é", ARN{}},
		{"space before", " arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6", ARN{}},
		{"only the beginning", "arn:aws:ivschat:us-west-2", ARN{}},
		{"no slash", "arn:aws:ivschat:us-west-2:123456789012:room", ARN{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseARN(test.text)
			if got != test.want || (err == nil) != (test.want != ARN{}) {
				t.Errorf("got %+v %v, want %+v", got, err, test.want)
			}
			if err == nil && got.String() != test.text {
				t.Errorf("written again: got %s, want %s", got, test.text)
			}
		})
	}
}

func TestNewID(t *testing.T) {
	const ids = 20_000
	count := map[byte]int{}
	seen := map[string]bool{}
	for range ids {
		id := NewID()
		if len(id) != 12 || !ValidID(id) || seen[id] {
			t.Fatalf("got %q", id)
		}
		seen[id] = true
		for i := range len(id) {
			count[id[i]]++
		}
	}
	// Chi-squared over 62 characters: 61 on average, with a deviation of √122. Eight
	// deviations off is no chance; a byte modulo 62 without rejection is thousands off.
	expected, chi := float64(ids*idLength)/float64(len(idAlphabet)), 0.0
	for _, c := range []byte(idAlphabet) {
		chi += math.Pow(float64(count[c])-expected, 2) / expected
	}
	if limit := 61 + 8*math.Sqrt(122); chi > limit {
		t.Errorf("chi squared: got %.0f, want at most %.0f", chi, limit)
	}
	for _, bad := range []string{"", "M2YcHkgffEv", "M2YcHkgffEvUx", "M2YcHkgffEv-", "M2YcHkgffEé"} {
		if ValidID(bad) {
			t.Errorf("ValidID(%q): got true, want false", bad)
		}
	}
}

func TestErrors(t *testing.T) {
	room := ARN{Scope: testScope, Kind: KindRoom, ID: "g1H2I3j4k5L6"}
	lc := ARN{Scope: testScope, Kind: KindLoggingConfiguration, ID: "g1H2I3j4k5L6"}
	cause := errors.New("secret")
	for _, test := range []struct {
		name string
		err  error
		code Code
		text string
		on   ARN
	}{
		{"no room", NewNotFound(room), NotFound, "Room arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6 does not exist.", room},
		{"no logging configuration", NewNotFound(lc), NotFound, "Logging configuration arn:aws:ivschat:us-west-2:123456789012:logging-configuration/g1H2I3j4k5L6 does not exist.", lc},
		{"a bad member", NewInvalid("uri", "invalid lambda permission"), BadRequest, "Request member: uri failed to satisfy the constraints: invalid lambda permission", ARN{}},
		{"over a rate", RateLimitExceeded(room, 5), TooManyRequests, "rate limit exceeded", room},
		{"wrapped", fmt.Errorf("doing this: %w", NewNotFound(room)), NotFound, "Room arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6 does not exist.", room},
		{"a cause", cause, Internal, "Internal server error", ARN{}},
		{"a cause, wrapped", fmt.Errorf("doing this: %w", cause), Internal, "Internal server error", ARN{}},
	} {
		got := AsError(test.err)
		if got.Code != test.code || got.Message != test.text || got.Error() != test.text || got.Resource != test.on {
			t.Errorf("%s: got %+v", test.name, got)
		}
	}
}
