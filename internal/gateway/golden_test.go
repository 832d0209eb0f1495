package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"parlor/internal/chat"
)

var update = flag.Bool("update", false, "write the goldens in testdata")

// TestWire plays the dialogues in testdata. An archive has one for each section, each
// with a node of its own, in virtual time and over pipes. -update writes what comes.
//
// A line says what somebody does; what the clients then receive, until nobody has
// anything left to do, follows it, indented. Every line of what is received is there:
// frames byte for byte, close frames with code and reason, "broken" for a connection
// that ended without one, refused handshakes with status, headers and body.
//
//	room [NAME] [length=N] [rate=N] [handler=ALLOW|DENY]   "main" unless it says another
//	connect CLIENT [SPEC]     by a fresh token, or by token=
//	token [SPEC]              make a token without using it
//	handshake [HEADER: VALUE | no HEADER]...   separated by " | "
//	CLIENT: TEXT              send a text frame
//	CLIENT binary: TEXT       send a binary frame
//	CLIENT close CODE REASON
//	SendEvent, DeleteMessage, DisconnectUser, UpdateRoom, DeleteRoom   the control plane
//	wait DURATION
//	...                       see play
//
// A SPEC is user=, can=SEND_MESSAGE,…|nothing, attributes=JSON, room=, session=DURATION.
// What is random has names, by order of appearance: <id1>, <token1>. Lines use them
// too. <é x 500> is a text 500 times. Times are virtual, so they are exact: a dialogue
// begins 50 ms after a whole second, between two ticks of the wheel.
func TestWire(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no archives: %v", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		before := string(txtar.Format(archive))
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			for i, section := range archive.Files {
				t.Run(section.Name, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						time.Sleep(50 * time.Millisecond)
						d := &dialogue{t: t, node: startNode(t, nodeOptions{pipes: true, log: io.Discard}),
							rooms: map[string]chat.ARN{}, named: map[string]string{}, count: map[string]int{}}
						archive.Files[i].Data = []byte(d.play(string(section.Data)))
						d.node.stop()
					})
				})
			}
			after := string(txtar.Format(archive))
			if *update && after != before {
				if err := os.WriteFile(file, []byte(after), 0o644); err != nil {
					t.Fatal(err)
				}
			} else if diff := cmp.Diff(strings.Split(before, "\n"), strings.Split(after, "\n")); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// dialogue is one section as it is played.
type dialogue struct {
	t       *testing.T
	node    *node
	rooms   map[string]chat.ARN
	clients []*listener             // in the order in which they connected
	named   map[string]string       // name → value
	names   []struct{ v, n string } // values and their names, in order of appearance
	count   map[string]int
}

// listener is a client that reads all the time.
type listener struct {
	name string
	*client

	mu    sync.Mutex
	heard []string
}

func (l *listener) listen() {
	for {
		kind, data, err := l.conn.Read(context.Background())
		said := string(data)
		var closing websocket.CloseError
		switch {
		case errors.As(err, &closing):
			said = fmt.Sprintf("close %d %q", closing.Code, closing.Reason)
		case err != nil:
			said = "broken"
		case kind != websocket.MessageText:
			said = "binary " + said
		}
		l.mu.Lock()
		l.heard = append(l.heard, said)
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// play carries out a section's lines and returns them with what was received.
func (d *dialogue) play(script string) string {
	var out strings.Builder
	for line := range strings.Lines(script) {
		line = strings.TrimSuffix(line, "\n")
		if strings.HasPrefix(line, "    ") {
			continue // what was received once
		}
		out.WriteString(line + "\n")
		answer := ""
		if line != "" && !strings.HasPrefix(line, "#") {
			answer = d.do(d.expand(line))
		}
		synctest.Wait()
		if answer != "" {
			d.write(&out, answer)
		}
		for _, c := range d.clients {
			c.mu.Lock()
			for _, said := range c.heard {
				d.write(&out, c.name+" < "+said)
			}
			c.heard = nil
			c.mu.Unlock()
		}
	}
	return out.String()
}

func (d *dialogue) write(out *strings.Builder, text string) {
	for line := range strings.SplitSeq(d.normalize(text), "\n") {
		out.WriteString(strings.TrimRight("    "+line, " ") + "\n")
	}
}

// do carries out one line. What it returns is the answer to it.
func (d *dialogue) do(line string) string {
	n, ctx := d.node, d.t.Context()
	verb, rest, _ := strings.Cut(line, " ")
	main := d.rooms["main"]
	check := func(err error) string {
		if err != nil {
			e := chat.AsError(err)
			return fmt.Sprintf("error %d %s", errorCode(e), e.Message)
		}
		return ""
	}
	switch words := strings.Fields(rest); verb {
	case "room":
		d.makeRoom(words)
	case "token":
		token, _ := d.token(words)
		d.name("token", token)
		return token
	case "connect":
		token, name := d.token(words)
		c, response, err := n.tryOpen(token, nil)
		if err != nil {
			return answer(response)
		}
		l := &listener{name: name, client: c}
		d.clients = append(d.clients, l)
		go l.listen()
	case "handshake":
		return d.handshake(rest)
	case "SendEvent":
		name, attributes, _ := strings.Cut(rest, " ")
		var m map[string]string
		if attributes != "" {
			if err := json.Unmarshal([]byte(attributes), &m); err != nil {
				d.t.Fatal(err)
			}
		}
		_, err := n.service.SendEvent(ctx, main, name, m)
		return check(err)
	case "DeleteMessage":
		id, reason, _ := strings.Cut(rest, " ")
		_, err := n.service.DeleteMessage(ctx, main, id, reason)
		return check(err)
	case "DisconnectUser":
		user, reason, _ := strings.Cut(rest, " ")
		return check(n.service.DisconnectUser(ctx, chat.Actor{}, main, user, reason))
	case "UpdateRoom":
		spec := roomSpec(d.t, words)
		var change chat.RoomChange
		if change.Handler = spec.Handler; spec.MaximumMessageLength > 0 {
			change.MaximumMessageLength = &spec.MaximumMessageLength
		}
		if spec.MaximumMessageRatePerSecond > 0 {
			change.MaximumMessageRatePerSecond = &spec.MaximumMessageRatePerSecond
		}
		_, err := n.service.UpdateRoom(ctx, main, change)
		return check(err)
	case "DeleteRoom":
		return check(n.service.DeleteRoom(ctx, main))
	case "lose-room": // it is deleted, and this node has yet to hear of it
		if err := n.store.DeleteRoom(ctx, main); err != nil {
			d.t.Fatal(err)
		}
		n.service.ForgetRoom(main)
	case "break-store": // from now on, for a service that remembers nothing
		n.gateway.service = chat.NewService(chat.ServiceConfig{Store: brokenStore{n.store}, Broker: n.gateway.broker, TokenLifetime: time.Hour})
	case "drain":
		window, err := time.ParseDuration(rest)
		if err != nil {
			d.t.Fatal(err)
		}
		n.gateway.Drain(ctx, window)
	case "wait":
		pause, err := time.ParseDuration(rest)
		if err != nil {
			d.t.Fatal(err)
		}
		time.Sleep(pause)
	default:
		d.say(verb, rest, line)
	}
	return ""
}

// say has a client send something.
func (d *dialogue) say(verb, rest, line string) {
	d.t.Helper()
	name := strings.TrimSuffix(verb, ":")
	i := slices.IndexFunc(d.clients, func(c *listener) bool { return c.name == name })
	if i < 0 {
		d.t.Fatalf("what is %q?", line)
	}
	c := d.clients[i]
	if verb != name {
		c.send(rest)
		return
	}
	what, rest, _ := strings.Cut(rest, " ")
	var err error
	switch what {
	case "binary:":
		err = c.conn.Write(d.t.Context(), websocket.MessageBinary, []byte(rest))
	case "close":
		number, reason, _ := strings.Cut(rest, " ")
		code, _ := strconv.Atoi(number)
		err = c.conn.Close(websocket.StatusCode(code), reason)
	case "breaks":
		err = c.conn.CloseNow()
	default:
		d.t.Fatalf("what is %q?", line)
	}
	if err != nil {
		d.t.Errorf("%s: %v", line, err)
	}
}

func (d *dialogue) makeRoom(words []string) {
	name := "main"
	if len(words) > 0 && !strings.Contains(words[0], "=") {
		name, words = words[0], words[1:]
	}
	d.rooms[name] = d.node.room(roomSpec(d.t, words)).ARN
}

func roomSpec(t *testing.T, words []string) (spec chat.RoomSpec) {
	t.Helper()
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		number, _ := strconv.Atoi(value)
		switch key {
		case "length":
			spec.MaximumMessageLength = number
		case "rate":
			spec.MaximumMessageRatePerSecond = number
		case "handler":
			uri, fallback := "arn:aws:lambda:us-west-2:123456789012:function:review", chat.FallbackResult(value)
			spec.Handler = &chat.HandlerChange{URI: &uri, Fallback: &fallback}
		default:
			t.Fatalf("what is %q?", word)
		}
	}
	return spec
}

// token makes the token that the words ask for, or takes the one they name. A first
// word that is not an option is the client's name and, unless they say another, its
// user's.
func (d *dialogue) token(words []string) (token, client string) {
	d.t.Helper()
	spec := chat.TokenSpec{Room: d.rooms["main"], UserID: "user", Capabilities: everything}
	if len(words) > 0 && !strings.Contains(words[0], "=") {
		client, words = words[0], words[1:]
		spec.UserID = client
	}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		var err error
		switch key {
		case "token":
			return value, client
		case "user":
			spec.UserID = value
		case "room":
			spec.Room = d.rooms[value]
		case "attributes":
			err = json.Unmarshal([]byte(value), &spec.Attributes)
		case "session":
			spec.SessionDuration, err = time.ParseDuration(value)
		case "can":
			spec.Capabilities = 0
			for name := range strings.SplitSeq(value, ",") {
				spec.Capabilities |= chat.CapabilityNames[name]
			}
		default:
			d.t.Fatalf("what is %q?", word)
		}
		if err != nil {
			d.t.Fatalf("%q: %v", word, err)
		}
	}
	return d.node.token(spec), client
}

// handshake sends one that is right but for the changes, and returns the answer.
func (d *dialogue) handshake(changes string) string {
	d.t.Helper()
	conn, err := d.node.dial(d.t.Context(), "tcp", d.node.address)
	if err != nil {
		d.t.Fatal(err)
	}
	defer conn.Close()
	method := "GET"
	headers := []string{"Host: parlor.test", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	for change := range strings.SplitSeq(changes, " | ") {
		if name, ok := strings.CutPrefix(change, "no "); ok {
			headers = slices.DeleteFunc(headers, func(h string) bool { return strings.HasPrefix(h, name+": ") })
		} else if name, value, ok := strings.Cut(change, ": "); ok {
			headers = slices.DeleteFunc(headers, func(h string) bool { return strings.HasPrefix(h, name+": ") })
			headers = append(headers, name+": "+value)
		} else if change != "" {
			method = change
		}
	}
	fmt.Fprintf(conn, "%s / HTTP/1.1\r\n%s\r\n\r\n", method, strings.Join(headers, "\r\n"))
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		d.t.Fatal(err)
	}
	return answer(response)
}

// answer is a handshake's, with the headers that say something.
func answer(r *http.Response) string {
	lines := []string{r.Proto + " " + r.Status}
	for name, values := range r.Header {
		if name != "Date" && name != "Content-Length" {
			lines = append(lines, name+": "+strings.Join(values, ", "))
		}
	}
	slices.Sort(lines[1:])
	if r.StatusCode != http.StatusSwitchingProtocols {
		body, _ := io.ReadAll(r.Body)
		lines = append(lines, strings.TrimSuffix(string(body), "\n"))
	}
	return strings.Join(lines, "\n")
}

// brokenStore cannot read rooms.
type brokenStore struct{ chat.Store }

func (brokenStore) Room(context.Context, chat.ARN) (chat.Room, error) {
	return chat.Room{}, errors.New("the disk is on fire")
}

var (
	idForm   = regexp.MustCompile(`(?:"Id":"|"MessageID":"|:room/)([A-Za-z0-9]{12})\b`)
	repeated = regexp.MustCompile(`<(\S+) x (\d+)>`)
	nameForm = regexp.MustCompile(`<(?:id|token)\d+>`)
)

// name gives a value the next name of its kind, unless it has one.
func (d *dialogue) name(kind, value string) {
	if slices.ContainsFunc(d.names, func(known struct{ v, n string }) bool { return known.v == value }) {
		return
	}
	d.count[kind]++
	name := fmt.Sprintf("<%s%d>", kind, d.count[kind])
	d.named[name] = value
	d.names = append(d.names, struct{ v, n string }{value, name})
}

// expand puts values for names, and repeats what is to be repeated.
func (d *dialogue) expand(line string) string {
	line = nameForm.ReplaceAllStringFunc(line, func(name string) string {
		value, ok := d.named[name]
		if !ok {
			d.t.Fatalf("nobody has seen %s", name)
		}
		return value
	})
	return repeated.ReplaceAllStringFunc(line, func(s string) string {
		m := repeated.FindStringSubmatch(s)
		n, _ := strconv.Atoi(m[2])
		return strings.Repeat(m[1], n)
	})
}

// normalize is the opposite: it names what is random, and abbreviates characters that
// come very often.
func (d *dialogue) normalize(text string) string {
	for _, m := range idForm.FindAllStringSubmatch(text, -1) {
		if m[1] != "M2YcHkgffEvU" { // the example of everybody
			d.name("id", m[1])
		}
	}
	for _, known := range d.names {
		text = strings.ReplaceAll(text, known.v, known.n)
	}
	var out strings.Builder
	for len(text) > 0 {
		_, size := utf8.DecodeRuneInString(text)
		n := 1
		for strings.HasPrefix(text[n*size:], text[:size]) {
			n++
		}
		if n >= 20 {
			fmt.Fprintf(&out, "<%s x %d>", text[:size], n)
		} else {
			out.WriteString(text[:n*size])
		}
		text = text[n*size:]
	}
	return out.String()
}
