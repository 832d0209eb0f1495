package develop

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"parlor/internal/chat"
)

// Root is where the paths of the tools are.
const Root = "/parlor/dev/"

const (
	resetPath  = Root + "reset"
	faultsPath = Root + "faults"
)

// maxCall is the largest body of a call, in bytes.
const maxCall = 64 << 10

// Config is what Tools work with. All members are required.
type Config struct {
	Logger *slog.Logger
	// Keys says that the server has access keys: calls come from this machine then.
	Keys bool
	// Operations are those of the control plane, by name.
	Operations []string

	// Reset empties the server and seeds it again; see [Refused].
	Reset func(context.Context) (Reset, error)
	// Break and Expire end the sessions that are picked, and return how many.
	Break, Expire func(pick func(room chat.ARN, user string) bool) int
	// OpenToken, SpendToken and RevokeTokens are those of [chat.Service].
	OpenToken    func(ctx context.Context, token string) (chat.Claims, error)
	SpendToken   func(ctx context.Context, token string) error
	RevokeTokens func(context.Context) error
}

// Reset is what a reset did.
type Reset struct {
	Connections int      `json:"connections"` // that were ended
	Seeded      []Seeded `json:"seeded"`
}

// Seeded is one resource of the seed.
type Seeded struct {
	ARN  string `json:"arn"`
	Name string `json:"name"`
}

// Refused is an error for whoever asked for a reset: nothing was done.
type Refused struct{ Err error }

func (r *Refused) Error() string { return r.Err.Error() }

func (r *Refused) Unwrap() error { return r.Err }

// Tools are the tools of one server. They implement [chat.Faults].
type Tools struct {
	config     Config
	logger     *slog.Logger
	operations []string
	faults     *faults
	late       latecomers
}

// New returns the tools. They start nothing but what is asked of them; Close must follow.
func New(c Config) *Tools {
	return &Tools{config: c, logger: c.Logger, operations: slices.Sorted(slices.Values(c.Operations)), faults: newFaults()}
}

// Stop clears all faults and takes no more: what waits for one goes on.
func (t *Tools) Stop() { t.faults.clear(true) }

// Close stops, and returns when nothing is late any more.
func (t *Tools) Close() {
	t.Stop()
	t.late.close()
}

// Serves reports whether a path is one of the tools'.
func Serves(path string) bool { return strings.HasPrefix(path, Root) }

// ServeHTTP answers the calls of the tools.
func (t *Tools) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if why := t.unwelcome(r); why != "" {
		t.refuse(w, http.StatusForbidden, "AccessDeniedException", why)
		return
	}
	switch r.Method + " " + r.URL.EscapedPath() {
	case "POST " + resetPath:
		t.reset(w, r)
	case "GET " + faultsPath:
		writeJSON(w, http.StatusOK, map[string]any{"faults": t.faults.list()})
	case "DELETE " + faultsPath:
		writeJSON(w, http.StatusOK, map[string]int{"cleared": t.faults.clear(false)})
	case "POST " + faultsPath:
		t.inject(w, r)
	default:
		t.refuse(w, http.StatusNotFound, "UnknownOperationException", "There are POST "+resetPath+", and POST, GET and DELETE "+faultsPath+".")
	}
}

// unwelcome says why a call is refused, if it is. Browsers say for whom they call: with
// Origin for all but some GETs, with Sec-Fetch-Site where the server has a name of this
// machine. Older ones send at least no JSON to strangers without asking first, and nobody
// answers that question here.
func (t *Tools) unwelcome(r *http.Request) string {
	if r.Header.Get("Origin") != "" {
		return "Web pages cannot call this: the request has an Origin."
	}
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "none" {
		return "Web pages cannot call this: the request has Sec-Fetch-Site: " + site + "."
	}
	if r.Method == http.MethodPost {
		if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
			return "The Content-Type must be application/json: web pages cannot send that."
		}
	}
	if t.config.Keys {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Unmap().IsLoopback() {
			return "This server has access keys: only its own machine can call this."
		}
	}
	return ""
}

func (t *Tools) refuse(w http.ResponseWriter, status int, name, message string) {
	w.Header().Set("x-amzn-ErrorType", name)
	writeJSON(w, status, map[string]string{"__type": name, "message": message})
}

// body reads the body of a call, which is an object or nothing.
func (t *Tools) body(w http.ResponseWriter, r *http.Request) (members map[string]json.RawMessage, text []byte, ok bool) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxCall))
	if err == nil && len(strings.TrimSpace(string(text))) > 0 {
		err = json.Unmarshal(text, &members)
	}
	if err != nil {
		t.refuse(w, http.StatusBadRequest, "SerializationException", "The body is not a JSON object.")
		return nil, nil, false
	}
	return members, text, true
}

func (t *Tools) reset(w http.ResponseWriter, r *http.Request) {
	members, _, ok := t.body(w, r)
	if !ok {
		return
	}
	if len(members) > 0 {
		t.refuse(w, http.StatusBadRequest, "ValidationException", "A reset takes no members: send {} or nothing.")
		return
	}
	t.faults.clear(false)
	done, err := t.config.Reset(r.Context())
	refused, ok := errors.AsType[*Refused](err)
	switch {
	case ok:
		t.refuse(w, http.StatusConflict, "ConflictException", refused.Error())
	case err != nil:
		t.logger.Error("reset", "error", err)
		t.refuse(w, http.StatusInternalServerError, "InternalServerException", "The reset failed; the log says why.")
	default:
		writeJSON(w, http.StatusOK, done)
	}
}

// The faults there are.
const (
	faultDrop   = "drop"
	faultExpire = "expire"
	faultRevoke = "revoke"
	faultError  = "error"
	faultDelay  = "delay"
)

// memberNames are the members of each fault beside its own name.
var memberNames = map[string][]string{
	faultDrop:   {"room", "user"},
	faultExpire: {"room", "user"},
	faultRevoke: {"token"},
	faultError:  {"on", "status", "message", "room", "user", "times", "seconds", "probability"},
	faultDelay:  {"on", "milliseconds", "room", "user", "times", "seconds", "probability"},
}

func (t *Tools) inject(w http.ResponseWriter, r *http.Request) {
	members, text, ok := t.body(w, r)
	if !ok {
		return
	}
	var f Fault
	wrong := t.read(members, text, &f)
	if wrong != nil {
		t.refuse(w, http.StatusBadRequest, "ValidationException", strings.Join(wrong, "; "))
		return
	}
	switch f.Fault {
	case faultDrop:
		writeJSON(w, http.StatusOK, map[string]int{"connections": t.config.Break(f.picks)})
	case faultExpire:
		writeJSON(w, http.StatusOK, map[string]int{"connections": t.config.Expire(f.picks)})
	case faultRevoke:
		t.revoke(w, r, f.Token)
	default:
		writeJSON(w, http.StatusOK, t.faults.add(f))
	}
}

func (t *Tools) revoke(w http.ResponseWriter, r *http.Request, token string) {
	var err error
	if token == "" {
		err = t.config.RevokeTokens(r.Context())
	} else {
		err = t.config.SpendToken(r.Context(), token)
	}
	e, ok := errors.AsType[*chat.Error](err)
	switch {
	case ok:
		t.refuse(w, http.StatusBadRequest, "ValidationException", "token: "+e.Message)
	case err != nil:
		t.logger.Error("revoke tokens", "error", err)
		t.refuse(w, http.StatusInternalServerError, "InternalServerException", "The tokens were not revoked; the log says why.")
	default:
		writeJSON(w, http.StatusOK, map[string]any{})
	}
}

// read reads a fault and returns everything that is wrong with it.
func (t *Tools) read(members map[string]json.RawMessage, text []byte, f *Fault) (wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	kinds := strings.Join(slices.Sorted(maps.Keys(memberNames)), ", ")
	var kind string
	_ = json.Unmarshal(members["fault"], &kind)
	known, found := memberNames[kind]
	if !found {
		say("fault: the value must be one of %s", kinds)
		return wrong
	}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if name != "fault" && !slices.Contains(known, name) {
			say("%s: %s has no such member; there are %s", name, kind, strings.Join(known, ", "))
		}
	}
	if wrong != nil {
		return wrong
	}
	if err := json.Unmarshal(text, f); err != nil {
		if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			say("%s: the value has the wrong type", e.Field)
		} else {
			say("the body cannot be read")
		}
		return wrong
	}
	if strings.HasPrefix(f.Room, "arn:") {
		if arn, err := chat.ParseARN(f.Room); err != nil || arn.Kind != chat.KindRoom {
			say("room: the value must be the ARN of a room, or its id")
		}
	}
	if f.Fault == faultError || f.Fault == faultDelay {
		t.check(members, f, say)
	}
	return wrong
}

// check checks what waits for requests.
func (t *Tools) check(members map[string]json.RawMessage, f *Fault, say func(format string, args ...any)) {
	within := func(name string, ok bool, rule string) {
		if _, given := members[name]; given && !ok {
			say("%s: the value must be %s", name, rule)
		}
	}
	within("times", f.Times >= 1, "1 or more")
	within("seconds", f.Seconds > 0 && f.Seconds <= 86400, "over 0, and a day at most")
	within("probability", f.Probability > 0 && f.Probability <= 1, "over 0, and 1 at most")
	if f.Fault == faultDelay && (f.Milliseconds < 1 || f.Milliseconds > int(maxDelay.Milliseconds())) {
		say("milliseconds: the value must be between 1 and %d", maxDelay.Milliseconds())
	}
	if len(f.On) == 0 {
		say("on: say what it is about, one or more of %s", t.targets())
	}
	for _, target := range f.On {
		statuses := map[int]bool{}
		switch {
		case t.isOperation(target):
			collect(statuses, apiErrors)
		case isAction(target):
			collect(statuses, actionErrors)
		case target == onHandshake:
			collect(statuses, handshakeErrors)
		case target == onReview:
			if f.Status != 0 {
				say("status: a review that fails has none")
			}
			continue
		case target == onDelivery:
			if f.Fault == faultError {
				say("on: deliveries can be delayed, they do not fail; drop the connections instead")
			}
			if f.User != "" {
				say("user: deliveries are a whole room's")
			}
			continue
		default:
			say("on: there is no %q; there are %s", target, t.targets())
			continue
		}
		if f.Fault == faultError && !statuses[f.Status] {
			say("status: for %s the value must be one of %s", target, list(statuses))
		}
	}
}

// collect notes the keys of m.
func collect[V any](into map[int]bool, m map[int]V) {
	for k := range m {
		into[k] = true
	}
}

func list(statuses map[int]bool) string {
	return strings.Trim(strings.ReplaceAll(fmt.Sprint(slices.Sorted(maps.Keys(statuses))), " ", ", "), "[]")
}

// Handler makes requests to the control plane meet their faults.
func (t *Tools) Handler(api http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.api(api, w, r) })
}

// Handshakes makes handshakes meet their faults.
func (t *Tools) Handshakes(gateway http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { t.handshake(gateway, w, r) })
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("develop: encode an answer: " + err.Error()) // strings and numbers always can be
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
}
