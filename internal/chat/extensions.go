package chat

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
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
	History         HistorySpec   // shown to who connects
}

// extensions read the value of each tag.
var extensions = map[string]func(*Extensions, string) error{
	"parlor:read-only": func(x *Extensions, value string) (err error) {
		x.ReadOnly, err = isTrue(value)
		return err
	},
	"parlor:slow-mode": func(x *Extensions, value string) (err error) {
		x.SlowMode, err = durationBetween(value, time.Second, 6*time.Hour)
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

// brief is a duration without the parts that are nothing.
func brief(d time.Duration) string {
	s := d.String()
	s = strings.TrimSuffix(s, "0s")
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// loadRoom reads a room as messages need it.
func (s *Service) loadRoom(ctx context.Context, arn ARN) (Room, error) {
	room, err := s.store.Room(ctx, arn)
	if err == nil {
		// What was stored before a tag had a meaning may have none.
		room.Extensions, _ = ParseExtensions(room.Tags)
	}
	return room, err
}

// extend holds a message to what the room's tags switch on. It returns what gives back
// the message's turn if it is not shown after all, nil if it took none.
func (s *Service) extend(ctx context.Context, session *Session, room *Room, id, content string) (giveBack func(), err error) {
	x := room.Extensions
	if x == nil || session.Capabilities&MayDeleteMessage != 0 { // a moderator
		return nil, nil
	}
	if x.ReadOnly {
		return nil, &Error{Code: Forbidden, Message: "The room is read-only."}
	}
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
		wait, err := claim("same:"+digest(session.UserID, content), x.DuplicateWindow)
		if err == nil && wait > 0 {
			err = &Error{Code: NotAcceptable, Message: "You have just said the same."}
		}
		if err != nil {
			return nil, err
		}
	}
	if x.SlowMode > 0 {
		wait, err := claim("slow:"+digest(session.UserID), x.SlowMode)
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
