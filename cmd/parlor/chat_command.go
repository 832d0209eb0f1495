package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/messaging"
)

// answerPatience is how long the server may take to answer.
const answerPatience = 15 * time.Second

// slash is a command that a line may be.
type slash struct {
	name, usage, help string
}

var slashes = []slash{
	{"delete", "N|ID [REASON]", "tell everybody to show message N no longer"},
	{"kick", "USER [REASON]", "disconnect a user; \"quote\" a name with spaces"},
	{"event", "NAME [K=V …]", "send an event to everybody"},
	{"help", "", "show this"},
	{"quit", "", "leave, as Ctrl-C and Ctrl-D do"},
}

// order is what a line asks for: one of its members.
type order struct {
	quit, help bool
	do         func(context.Context) error
}

// talk is a seat that is being used.
type talk struct {
	*seat
	client  *messaging.Client
	history history
}

// order reads a line: a message, or with a slash in front a command. Two slashes are one
// of a message. An error is for the person who wrote the line.
func (t *talk) order(line string) (order, error) {
	switch {
	case strings.HasPrefix(line, "//"):
		return t.message(line[1:]), nil
	case !strings.HasPrefix(line, "/"):
		return t.message(line), nil
	}
	name, rest, _ := strings.Cut(line[1:], " ")
	name = strings.ToLower(name)
	i := slices.IndexFunc(slashes, func(s slash) bool { return s.name == name })
	if i < 0 {
		return order{}, fmt.Errorf("there is no command /%s; /help lists those there are; a message that begins with a slash is written with two", clean(name))
	}
	first, rest, err := word(rest)
	if err != nil || first == "" && slashes[i].usage != "" {
		return order{}, fmt.Errorf("the command is /%s %s", slashes[i].name, slashes[i].usage)
	}
	switch name {
	case "quit":
		return order{quit: true}, nil
	case "help":
		return order{help: true}, nil
	case "delete":
		id, err := t.history.id(first)
		return order{do: func(ctx context.Context) error {
			_, err := t.client.DeleteMessage(ctx, id, rest)
			return err
		}}, err
	case "kick":
		return order{do: func(ctx context.Context) error {
			_, err := t.client.DisconnectUser(ctx, first, rest)
			return err
		}}, nil
	default: // event
		attributes, err := readAttributes(rest)
		return order{do: func(ctx context.Context) error {
			_, err := t.api.SendEvent(ctx, &ivschat.SendEventInput{RoomIdentifier: &t.arn, EventName: &first, Attributes: attributes})
			return err
		}}, err
	}
}

func (t *talk) message(content string) order {
	return order{do: func(ctx context.Context) error {
		_, err := t.client.SendMessage(ctx, content, nil)
		return err
	}}
}

// carryOut does what a line asks for, and waits for the answer.
func (o order) carryOut(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, answerPatience, fmt.Errorf("nothing came in %v", answerPatience))
	defer cancel()
	return o.do(ctx)
}

// word cuts the first word off, which may be in double quotes.
func word(text string) (first, rest string, err error) {
	text = strings.TrimSpace(text)
	if quoted, ok := strings.CutPrefix(text, `"`); ok {
		first, rest, ok = strings.Cut(quoted, `"`)
		if !ok {
			return "", "", errors.New("the quote has no end")
		}
		return first, strings.TrimSpace(rest), nil
	}
	first, rest, _ = strings.Cut(text, " ")
	return first, strings.TrimSpace(rest), nil
}

// readAttributes reads attributes, each name=value or name="some value".
func readAttributes(text string) (map[string]string, error) {
	m := map[string]string{}
	for text = strings.TrimSpace(text); text != ""; {
		name, rest, ok := strings.Cut(text, "=")
		if !ok || name == "" || strings.Contains(name, " ") {
			return nil, fmt.Errorf("an attribute is NAME=VALUE, with quotes around a value that has spaces, and not %s", clean(text))
		}
		value := ""
		if rest != "" && rest[0] != ' ' {
			var err error
			if value, rest, err = word(rest); err != nil {
				return nil, fmt.Errorf("the quote in %s has no end", clean(text))
			}
		}
		m[name], text = value, strings.TrimSpace(rest)
	}
	if len(m) == 0 {
		return nil, nil
	}
	return m, nil
}

// sorry says in one line what became of a line, and what to do about it.
func sorry(err error) string {
	if e, ok := errors.AsType[*messaging.Error](err); ok {
		said := strings.TrimSuffix(clean(e.Message), ".")
		switch e.Code {
		case http.StatusUnauthorized:
			return "Not done: " + said + ". It is connected anew; then try again."
		case http.StatusForbidden:
			if strings.HasPrefix(said, "You are muted") || strings.HasPrefix(said, "You are banned") {
				return "Not sent: " + said + "."
			}
			return "Not allowed: " + said + ". --capabilities of parlor chat says what you may do."
		case http.StatusNotFound:
			return "Not done: " + said + ". Was the room deleted?"
		case http.StatusNotAcceptable:
			return "Not sent, the room's review refused it: " + said + "."
		case http.StatusRequestEntityTooLarge:
			return "Not done: " + said + ". Make it shorter."
		case http.StatusTooManyRequests:
			return "Not done: " + said + ". Wait a second and try again."
		case http.StatusInternalServerError:
			return "Not done: " + said + ". It is the server's fault; its log says more."
		}
		return "Not done: " + said + "."
	}
	switch {
	case errors.Is(err, messaging.ErrNotConnected):
		return "Not sent: there is no connection now. Try again when there is."
	case errors.Is(err, messaging.ErrLost):
		return "The connection was lost before the answer came: it may have been done, or not."
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("The server did not answer in %v: it may have been done, or not.", answerPatience)
	}
	return "Not done: " + clean(plain(err))
}

// sentence is an error about a line as it is shown to who wrote it.
func sentence(err error) string {
	text := err.Error()
	return strings.ToUpper(text[:1]) + text[1:] + "."
}

// helpLines are what /help shows.
func helpLines() []string {
	lines := make([]string, 0, len(slashes)+1)
	for _, s := range slashes {
		lines = append(lines, fmt.Sprintf("%-22s %s", strings.TrimSpace("/"+s.name+" "+s.usage), s.help))
	}
	return append(lines, fmt.Sprintf("%-22s %s", "//…", "a message that begins with a slash"))
}
