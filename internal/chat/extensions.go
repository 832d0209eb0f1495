package chat

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// extensionPrefix is of the tags that switch on, in a room, what Amazon IVS Chat does
// not have.
const extensionPrefix = "parlor:"

// Extensions are what a room's tags switch on. A room without such tags has none (nil),
// and is as on AWS.
type Extensions struct {
	ReadOnly        bool          // only moderators speak
	SlowMode        time.Duration // between two messages of a user
	DuplicateWindow time.Duration // in which a user does not say the same thing again
	Filter          string        // the name of the rules that messages are judged by
	Attendance      Attendance    // what is to be known of who is there
	BanOnDisconnect time.Duration // for which who is disconnected is also banned
	History         HistorySpec   // shown to who connects
}

// extensions read the value of each tag.
var extensions = map[string]func(*Extensions, string) error{
	"parlor:read-only": func(x *Extensions, value string) (err error) {
		x.ReadOnly, err = isTrue(value)
		return err
	},
	"parlor:filter": func(x *Extensions, value string) error {
		if value == "" {
			return fmt.Errorf("the name of a set of rules of the server's --filters")
		}
		x.Filter = value
		return nil
	},
	"parlor:ban-on-disconnect": func(x *Extensions, value string) (err error) {
		x.BanOnDisconnect, err = ParseSpan(value)
		if err != nil || x.BanOnDisconnect < time.Second || x.BanOnDisconnect > 30*day {
			return fmt.Errorf("a time between 1s and 30d, such as 10m")
		}
		return nil
	},
	"parlor:slow-mode": func(x *Extensions, value string) (err error) {
		x.SlowMode, err = durationBetween(value, time.Second, 6*time.Hour)
		return err
	},
	"parlor:presence": func(x *Extensions, value string) (err error) {
		x.Attendance.Presence, err = presenceOf(value)
		return err
	},
	"parlor:max-connections-per-user": func(x *Extensions, value string) (err error) {
		x.Attendance.Most, err = connectionsPerUser(value)
		return err
	},
	"parlor:history": func(x *Extensions, value string) (err error) {
		x.History, err = parseHistory(value)
		return err
	},
	"parlor:duplicate-window": func(x *Extensions, value string) (err error) {
		x.DuplicateWindow, err = durationBetween(value, time.Second, time.Hour)
		return err
	},
}

// flagAttribute is of messages that a rule would have looked at: the rules' labels.
const flagAttribute = "parlor:flag"

// ParseExtensions reads the tags of a room. It returns nil when none is about
// extensions, and an error for a client that names the tag when one is not understood.
func ParseExtensions(tags map[string]string) (*Extensions, error) {
	var x *Extensions
	var names []string
	for name := range tags {
		if strings.HasPrefix(name, extensionPrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names) // of several faults, always the same is named
	for _, name := range names {
		read := extensions[name]
		if read == nil {
			return nil, fmt.Errorf("the tag %s is not known: there are %s", name, strings.Join(extensionNames(), ", "))
		}
		if x == nil {
			x = &Extensions{}
		}
		if err := read(x, tags[name]); err != nil {
			return nil, fmt.Errorf("the tag %s must be %w", name, err)
		}
	}
	return x, nil
}

func extensionNames() []string {
	var names []string
	for name := range extensions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func isTrue(value string) (bool, error) {
	switch value {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fmt.Errorf("true or false")
}

func durationBetween(value string, least, most time.Duration) (time.Duration, error) {
	d, err := time.ParseDuration(value)
	if err != nil || d < least || d > most {
		return 0, fmt.Errorf("a time between %s and %s, such as 30s", brief(least), brief(most))
	}
	return d, nil
}

const day = 24 * time.Hour

// ParseSpan reads a duration as Go writes it, or a number of whole days, such as 7d.
func ParseSpan(text string) (time.Duration, error) {
	days, ok := strings.CutSuffix(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 16)
	if err != nil {
		return 0, fmt.Errorf("%q is no number of days", days)
	}
	return time.Duration(n) * day, nil
}

// brief is a duration without the parts that are nothing.
func brief(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// CheckTags returns an error for a client unless what a room's tags switch on is
// understood, and is here.
func (s *Service) CheckTags(tags map[string]string) error {
	x, err := ParseExtensions(tags)
	if err == nil && x != nil && x.Filter != "" && s.filters[x.Filter] == nil {
		err = fmt.Errorf("the tag parlor:filter must be the name of a set of rules of the server's --filters, and %q is none", x.Filter)
	}
	return err
}

// loadRoom reads a room as messages need it.
func (s *Service) loadRoom(ctx context.Context, arn ARN) (Room, error) {
	room, err := s.store.Room(ctx, arn)
	if err == nil {
		// What was stored before a tag had a meaning may have none.
		room.Extensions, _ = ParseExtensions(room.Tags)
		room.Bans, err = s.loadBans(ctx, arn)
	}
	return room, err
}

// extended is a message as the room's tags, if any, let it be.
func (s *Service) extended(ctx context.Context, m pendingMessage, room *Room) (pendingMessage, error) {
	if room.Extensions == nil {
		return m, nil
	}
	return s.extend(ctx, m, room)
}

// extend holds a message to what the room's tags switch on, which may change it.
func (s *Service) extend(ctx context.Context, m pendingMessage, room *Room) (pendingMessage, error) {
	if m.session.Capabilities&MayDeleteMessage != 0 { // a moderator
		return m, nil
	}
	if room.Extensions.ReadOnly {
		return m, &Error{Code: Forbidden, Message: "The room is read-only."}
	}
	var err error
	m.giveBack, err = s.takeTurn(ctx, &m, room)
	if err == nil {
		err = s.filter(&m, room.Extensions.Filter)
	}
	return m, err
}

// filter judges a message by the rules of a name. Rules that are not here any more judge
// nothing.
func (s *Service) filter(m *pendingMessage, name string) error {
	rules := s.filters[name]
	if rules == nil {
		return nil
	}
	out := rules.Judge(m.content)
	if out.Refused != "" {
		return &Error{Code: NotAcceptable, Message: out.Refused}
	}
	m.content = out.Content
	if len(out.Flags) > 0 {
		flagged := withTags(m.attributes, map[string]string{flagAttribute: strings.Join(out.Flags, ",")})
		if AttributesSize(flagged) <= MaxAttributesSize { // what does not fit is not said
			m.attributes = flagged
		}
	}
	return nil
}

// takeTurn claims what a message needs for itself alone. It returns what gives that back
// if the message is not shown after all, nil if it took nothing.
func (s *Service) takeTurn(ctx context.Context, m *pendingMessage, room *Room) (giveBack func(), err error) {
	x := room.Extensions
	id, user, content := m.id, m.session.UserID, m.content
	var claimed []string
	giveBack = func() {
		for _, what := range claimed {
			// What is not given back runs out by itself.
			s.broker.Release(context.WithoutCancel(ctx), room.ARN, what, id)
		}
	}
	claim := func(what string, window time.Duration) (time.Duration, error) {
		wait, err := s.broker.Claim(ctx, room.ARN, what, id, window)
		if err == nil && wait == 0 {
			claimed = append(claimed, what)
		}
		return wait, err
	}
	if x.DuplicateWindow > 0 {
		wait, err := claim("same:"+digest(user, content), x.DuplicateWindow)
		if err == nil && wait > 0 {
			err = &Error{Code: NotAcceptable, Message: "You have just said the same."}
		}
		if err != nil {
			return nil, err
		}
	}
	if x.SlowMode > 0 {
		wait, err := claim("slow:"+digest(user), x.SlowMode)
		if err == nil && wait > 0 {
			seconds := int((wait + time.Second - 1) / time.Second)
			err = &Error{Code: TooManyRequests, Message: fmt.Sprintf("The room is in slow mode: you may send a message again in %d s.", seconds)}
		}
		if err != nil {
			giveBack()
			return nil, err
		}
	}
	if len(claimed) == 0 {
		return nil, nil
	}
	return giveBack, nil
}

// digest stands for texts in the name of a claim.
func digest(parts ...string) string {
	h := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(h, "%d:%s", len(part), part)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil)[:18])
}

// Filter judges messages by rules of the operator's.
type Filter interface {
	// Judge takes time that grows with the content's length alone.
	Judge(content string) Filtered
}

// Filtered is what a Filter makes of a message.
type Filtered struct {
	Content string   // as it may be shown
	Refused string   // why it may not be shown at all; "" when it may
	Flags   []string // the rules that would have it looked at
}
