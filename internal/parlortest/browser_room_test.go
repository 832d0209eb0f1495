package parlortest_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"
	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/cdproto/target"
	"github.com/chromedp/chromedp"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// roomPage is the console's page of a room.
type roomPage struct {
	*page
	s      *parlortest.Server
	client *ivschat.Client
	arn    string
}

// openRoom makes a room and opens its page, by way of the list of rooms. before is a
// script that runs there, while the room's page is still to come.
func openRoom(t *testing.T, s *parlortest.Server, v view, input *ivschat.CreateRoomInput, before string) *roomPage {
	t.Helper()
	// The account and the region that the console is of, where nobody signed in.
	client := s.Client(t, func(o *ivschat.Options) {
		o.Region = "us-east-1"
		o.Credentials = credentials.NewStaticCredentialsProvider("000000000000", "secret", "")
	})
	made, err := client.CreateRoom(t.Context(), input)
	if err != nil {
		t.Fatal(err)
	}
	p := openBrowser(t).page(t, s.URL+"/console/", v)
	p.waitText("h1", "Rooms")
	if before != "" {
		p.eval(before, nil)
	}
	p.eval("location.hash = "+quote("#/rooms/"+url.PathEscape(*made.Arn)), nil)
	r := &roomPage{page: p, s: s, client: client, arn: *made.Arn}
	r.waitText(".stream .state", "Connected")
	return r
}

// send sends a message by the composer.
func (r *roomPage) send(as, content string) {
	r.t.Helper()
	r.fill(".composer input[required]", as)
	r.fill(".composer textarea", content)
	r.press("Enter")
	r.waitText(".row.message", content)
}

// act chooses from the menu of a message.
func (r *roomPage) act(message, action string) {
	r.t.Helper()
	r.click(".row.message >> " + message)
	r.press("Enter")
	r.click("[role=menuitem] >> " + action)
}

// mayCopy lets the page write to the clipboard, and the test read it.
func (r *roomPage) mayCopy() {
	r.t.Helper()
	profile := call(r.page, target.GetTargetInfo, target.GetTargetInfoParams{}).TargetInfo.BrowserContextID
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		call(r.page, cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
			Permission: &cdpbrowser.PermissionDescriptor{Name: name}, Setting: cdpbrowser.PermissionSettingGranted,
			Origin: r.s.URL, BrowserContextID: profile,
		})
	}
}

func (r *roomPage) tab(name string) {
	r.t.Helper()
	r.click("[role=tab] >> " + name)
}

func namedRoom(name string) *ivschat.CreateRoomInput {
	return &ivschat.CreateRoomInput{Name: aws.String(name)}
}

// Two users talk by the page; a message is deleted, and one of them is kicked, who is
// told so; an event is seen; the wire shows it all.
func TestConsoleRoom(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("lobby"), "")
	r.waitText("h1", "lobby")
	r.waitText(".load", "1 connection")
	r.waitText(".long-empty", "Nothing was said yet.")
	r.screenshot("empty")

	r.send("ann", "hello from ann")
	r.send("bob", "hello from bob")
	r.waitText(".cast", "ann")
	r.waitText(".cast", "bob")
	r.waitText(".load", "3 connections")
	if got := r.texts(".composer .problem"); len(got) != 0 {
		t.Errorf("the composer says %q", got)
	}

	// Attributes unfold, those of the message and those of its sender.
	token, err := r.client.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: &r.arn, UserId: aws.String("carol"),
		Capabilities: []types.ChatTokenCapability{types.ChatTokenCapabilitySendMessage}, Attributes: map[string]string{"badge": "gold"}})
	if err != nil {
		t.Fatal(err)
	}
	r.eval(`new Promise((resolve) => {
		const socket = new WebSocket(location.origin.replace('http', 'ws'), `+quote(*token.Token)+`);
		socket.onopen = () => { socket.send(JSON.stringify({ Action: 'SEND_MESSAGE', Content: 'with more', Attributes: { mood: 'good' } })); resolve(); };
		window.carol = socket;
	})`, nil)
	r.click(".row.message >> with more")
	r.click(".row .attributes >> 2 attributes")
	r.waitText(".row .map", "good")
	r.waitText(".row .map", "gold")

	// An event, by the page's own form.
	r.click("button >> Send event")
	r.fill("dialog input", "poll:open")
	r.click("dialog button >> Add")
	r.fill("dialog .pair input", "question")
	r.press("Tab")
	r.press("4", "2")
	r.click("dialog [type=submit]")
	r.waitText(".row.event", "poll:open")
	r.waitText(".toast", "The event is sent.")

	// A message is deleted: it stays, marked, but for who looks as a viewer does.
	r.act("hello from ann", "Delete")
	r.fill("dialog input", "off topic")
	r.screenshot("delete")
	r.click("dialog [type=submit]")
	r.waitText(".row.deleted", "hello from ann")
	r.waitText(".row.deleted .fate", "Deleted from here")
	r.waitText(".row.deleted .fate", "off topic")
	r.click("label >> As viewers see it")
	r.waitGone(".row.deleted")
	r.waitText(".row.message", "hello from bob")
	r.click("label >> As viewers see it")
	r.waitText(".row.deleted", "hello from ann")

	// One is kicked.
	r.act("hello from bob", "Disconnect")
	r.fill("dialog input", "be kind")
	r.click("dialog [type=submit]")
	r.waitText(".row.event", "bob was disconnected. Reason: be kind")
	r.waitText(".cast li >> bob", "Closed (1001) be kind")
	r.waitText(".cast li >> ann", "Connected")
	r.screenshot("talk")
	r.prefer("dark", true)
	r.screenshot("dark")
	r.prefer("light", false)
	r.accessible()
	r.click(".cast li button >> Connect")
	r.waitText(".cast li >> bob", "Connected")

	// What was sent and received.
	r.tab("Wire")
	r.waitText(".row.frame.out", "SEND_MESSAGE")
	r.waitText(".row.frame.in", "MESSAGE")
	r.waitText(".row.frame.open", "opened")
	r.waitText(".row.frame.close", "code 1001, be kind")
	r.screenshot("wire")
	r.accessible()
	r.eval(`document.querySelector('.tabs').scrollIntoView()`, nil)
	r.mayCopy()
	choose := func(label, value string) {
		r.eval(`{ const s = document.querySelector('select[aria-label=`+quote(label)+`]'); s.value = `+quote(value)+`; s.dispatchEvent(new Event('change', { bubbles: true })); }`, nil)
	}
	choose("All types", "SEND_MESSAGE")
	r.wait(`[...document.querySelectorAll('.row.frame')].filter((e) => e.checkVisibility()).length === 2`)
	choose("All users", "ann")
	r.wait(`[...document.querySelectorAll('.row.frame')].filter((e) => e.checkVisibility()).length === 1`)
	r.click(".row.frame [aria-expanded]")
	r.waitText(".row.frame pre", `"Content": "hello from ann"`)
	r.screenshot("frame")
	r.click(".row.frame button >> Copy")
	var frame struct{ Action, Content, RequestID string }
	var copied string
	r.until("the clipboard has the frame", "navigator.clipboard.readText()", &copied, func() bool {
		return json.Unmarshal([]byte(copied), &frame) == nil && frame.Content == "hello from ann"
	})
	if frame.Action != "SEND_MESSAGE" || frame.RequestID == "" {
		t.Errorf("copied %s", copied)
	}
	choose("All users", "bob")
	choose("All types", "")
	r.click("button >> Copy all")
	var all []struct {
		UserID, Direction, Time string
		Code                    int
	}
	r.until("the clipboard has the rows", "navigator.clipboard.readText()", &copied, func() bool {
		return json.Unmarshal([]byte(copied), &all) == nil
	})
	if len(all) < 5 || all[0].UserID != "bob" || all[0].Direction != "open" {
		t.Errorf("copied %s", copied)
	}
	r.click("button >> Clear")
	r.waitGone(".row.frame")

	// Who is there.
	r.tab("People")
	for _, who := range []string{"console", "ann", "bob", "carol"} {
		r.waitText("tbody tr", who)
	}
	r.waitText("[role=tabpanel]", "to this node")
	r.screenshot("people")
	r.accessible()
	r.click("tr button >> Disconnect \u2068carol")
	r.click("dialog [type=submit]")
	r.wait(`![...document.querySelectorAll('tbody tr')].some((tr) => tr.innerText.includes('carol'))`)
	r.click("tr button >> Send as \u2068bob")
	r.wait(`document.activeElement.matches('textarea') && document.querySelector('.composer input').value === 'bob'`)

	r.tab("Settings")
	r.waitText("dl.facts", r.arn)
	r.screenshot("settings")
	r.accessible()
	r.click("button >> Copy as AWS CLI")
	r.until("the clipboard has the command", "navigator.clipboard.readText()", &copied, func() bool {
		return strings.HasPrefix(copied, "aws ivschat get-room --identifier "+r.arn)
	})
	// The address says which tab it is.
	r.do("reload", chromedp.Reload())
	r.waitText("[role=tab][aria-selected=true]", "Settings")
}

// A token is shown once, and can be looked at; the room is changed and deleted.
func TestConsoleRoomActions(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("workshop"), "")
	r.click("button >> Mint token")
	r.fill("dialog input[required]", "dora")
	r.click("dialog label >> Delete messages")
	r.click("dialog [type=submit]")
	r.waitText("dialog h2", "The token")
	var token string
	r.eval(`document.querySelector('dialog textarea').value`, &token)
	r.screenshot("token")
	r.accessible()
	r.eval(`new Promise((resolve, reject) => {
		const socket = new WebSocket(location.origin.replace('http', 'ws'), `+quote(token)+`);
		socket.onopen = () => { socket.onclose = resolve; socket.close(1000); };
		socket.onerror = reject;
	})`, nil)
	// It is inspected without being in an address, which browsers remember.
	var href string
	if r.eval(`document.querySelector('dialog a').getAttribute('href')`, &href); href != "#/tokens" {
		t.Errorf("the token is inspected at %q", href)
	}
	r.click("dialog a >> Inspect")
	r.waitText(".inspected", "dora")
	r.eval(`history.back()`, nil)
	r.waitText("h1", "workshop")

	r.click("button >> Edit")
	r.fill("dialog input", "studio")
	r.fill("dialog input[type=number]", "20")
	r.click("dialog [type=submit]")
	r.waitText("h1", "studio")
	r.waitText(".counter", "0 / 20")

	r.click("button >> Tags")
	r.click("dialog button >> Add")
	r.fill("dialog .pair input", "team")
	r.press("Tab")
	r.press("a")
	r.click("dialog [type=submit]")
	r.tab("Settings")
	r.waitText(".tag", "team: a")

	r.click("button >> Delete")
	r.click("dialog [type=submit]")
	r.waitText("h1", "Rooms")
	r.expect("answered 404|404 \\(Not Found\\)")
	r.eval("location.hash = "+quote("#/rooms/"+url.PathEscape(r.arn)), nil)
	r.waitText(".empty", "There is no such room")
}

// What the server refuses is said at the composer, and the text stays.
func TestConsoleRoomRefused(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, &ivschat.CreateRoomInput{MaximumMessageLength: aws.Int32(10), MaximumMessageRatePerSecond: aws.Int32(1)}, "")
	r.send("ann", "0123456789")
	r.fill(".composer textarea", "  0123😀56789é ")
	r.waitText(".counter.bad", "11 / 10")
	r.press("Enter")
	r.waitText(".composer .problem", "400 Message exceeds maximum length")
	r.screenshot("too-long")
	var left string
	r.eval(`document.querySelector('.composer textarea').value`, &left)
	if want := "  0123😀56789é "; left != want {
		t.Errorf("the text became %q", left)
	}
	// One character less is what the server takes, too.
	time.Sleep(time.Second)
	r.fill(".composer textarea", "  0123😀5678é ")
	r.waitText(".counter", "10 / 10")
	r.press("Enter")
	r.waitText(".row.message", "0123😀5678é")
	r.waitGone(".composer .problem")
	r.fill(".composer textarea", "too soon")
	r.press("Enter")
	r.waitText(".composer .problem", "429 rate limit exceeded")

	// Without the capability.
	r.click("summary >> What the user may do")
	r.click(".composer .check >> Send messages")
	r.press("Shift+Tab")
	r.fill(".composer textarea", "may not")
	r.press("Enter")
	r.waitText(".composer .problem", "403 ")
	r.accessible()
	r.expect("CreateChatToken|400 \\(Bad Request\\)")
	r.fill(".composer input[required]", strings.Repeat("x", 129))
	r.fill(".composer textarea", "who?")
	r.press("Enter")
	r.waitText(".composer .problem", "ValidationException")
}

// What users write is text, and turns nothing else around.
func TestConsoleRoomHostile(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("alley"), "")
	for _, content := range []string{
		`<img src=x onerror="window.broken = 1"><script>window.broken = 1</script>`,
		"\u202Eesrever ni si siht", "שלום, world!", strings.Repeat("😀", 500), "a\nb\n\nc", strings.Repeat("W", 500), "Z\u0351\u036b\u0343\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349\u035a\u032f\u031e\u0320\u034d",
	} {
		r.fill(".composer input[required]", "<b>\u202Eann")
		r.fill(".composer textarea", content)
		r.press("Enter")
		var seen []string
		r.until("it is shown as it is", `[...document.querySelectorAll('.row .said')].map((e) => e.textContent)`, &seen, func() bool { return slices.Contains(seen, content) })
		time.Sleep(110 * time.Millisecond) // the room takes 10 a second
	}
	if _, err := r.client.SendEvent(t.Context(), &ivschat.SendEventInput{RoomIdentifier: &r.arn, EventName: aws.String("<i>\u202Eevent"), Attributes: map[string]string{"<u>": "</div><h1>no"}}); err != nil {
		t.Fatal(err)
	}
	r.waitText(".row.event", "<i>")
	var broken bool
	r.eval(`Boolean(window.broken) || document.querySelectorAll('main img, main script, main b, main i, main u').length > 0`, &broken)
	if broken {
		t.Error("what a user wrote is a part of the page")
	}
	r.unclipped()
	r.screenshot("hostile")
	r.accessible()
	r.tab("Wire")
	r.waitText(".row.frame.in", "onerror")
	r.accessible()
	r.tab("People")
	r.waitText("tbody tr", "<b>")
	r.accessible()
}

// The console connects again when the server was away, and says that it missed something.
func TestConsoleRoomReconnects(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t)
	r := openRoom(t, s, view{}, namedRoom("harbour"), "")
	r.expect("ERR_CONNECTION_REFUSED|ERR_SOCKET_NOT_CONNECTED|ERR_EMPTY_RESPONSE|ERR_CONNECTION_RESET|WebSocket|request failed")
	r.send("ann", "before")
	s.Stop()
	r.waitText(".stream .state", "Interrupted")
	r.waitText(".cast li", "Interrupted")
	r.screenshot("interrupted")
	parlortest.Start(t, func(c *config.Config) {
		c.Data, c.Listen = s.Data, strings.TrimPrefix(s.URL, "http://")
	})
	r.waitText(".stream .state", "Connected")
	r.waitText(".row.note", "Connected again")
	r.send("ann", "after")

	// A session that ended in good order stays so, until it is asked for again.
	if _, err := r.client.DisconnectUser(t.Context(), &ivschat.DisconnectUserInput{RoomIdentifier: &r.arn, UserId: aws.String("console"), Reason: aws.String("no lookers-on")}); err != nil {
		t.Fatal(err)
	}
	r.waitText(".stream .state", "Closed (1001) no lookers-on")
	r.click(".stream button >> Connect again")
	r.waitText(".stream .state", "Connected")
}

// Of a room that somebody deletes what was said stays to be read, and nothing can be done.
func TestConsoleRoomIsDeleted(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("pier"), "")
	r.expect("answered 404|404 \\(Not Found\\)")
	r.send("ann", "before")
	if _, err := r.client.DeleteRoom(t.Context(), &ivschat.DeleteRoomInput{Identifier: &r.arn}); err != nil {
		t.Fatal(err)
	}
	r.waitText(".load", "There is no such room, or it is deleted.")
	r.waitText(".stream", "before")
	r.waitText(".head .actions", "Back to the rooms")
	var left string
	if r.eval(`[...document.querySelectorAll('.head .actions button, .stream .bar button, form.composer')].filter((e) => e.checkVisibility()).map((e) => e.textContent).join()`, &left); left != "Pause" {
		t.Errorf("what can be done: %q, want Pause", left)
	}
	r.screenshot("deleted")
	r.accessible()
	r.click(".head .actions a")
	r.waitText("h1", "Rooms")
}

// All of it can be done without a mouse.
func TestConsoleRoomKeyboard(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("keys"), "")
	// From the top of the page, by Tab alone, to the composer.
	reach := func(what string) {
		r.t.Helper()
		for range 60 {
			r.press("Tab")
			var there bool
			r.eval(`document.activeElement.matches(`+quote(what)+`)`, &there)
			if there {
				return
			}
		}
		r.fail("Tab does not reach %s", what)
	}
	reach("[role=tab]")
	r.press("ArrowRight")
	r.waitText("[role=tab][aria-selected=true]", "Wire")
	r.press("End")
	r.waitText("[role=tab][aria-selected=true]", "Settings")
	r.press("ArrowRight")
	r.waitText("[role=tab][aria-selected=true]", "Live")
	reach(".composer input")
	r.press("Control+a", "z", "o", "e", "Tab")
	for i := range 5 {
		r.press("m", fmt.Sprint(i), "Enter")
		r.waitText(".row.message", fmt.Sprint("m", i))
		r.wait(`document.activeElement.value === ''`)
	}
	r.press("l", "1", "Shift+Enter", "l", "2", "Enter")
	r.waitText(".row .said", "l1\nl2")

	// Back to the list, which is one stop: the row that was the last in sight.
	focused := func(want string) {
		r.t.Helper()
		r.wait(`document.activeElement.matches('article') && document.activeElement.innerText.includes(` + quote(want) + `)`)
	}
	for range 10 {
		r.press("Shift+Tab")
		var there bool
		if r.eval(`document.activeElement.matches('article, article *')`, &there); there {
			break
		}
	}
	focused("l2")
	r.press("ArrowUp", "ArrowUp")
	focused("m3")
	r.press("Home")
	focused("m0")
	r.press("ArrowDown")
	focused("m1")
	r.press("Enter")
	r.waitText("[role=menu]", "Copy JSON")
	r.screenshot("menu")
	r.accessible()
	r.press("Escape")
	focused("m1")
	r.press("Enter")
	for range 8 {
		var on string
		if r.eval(`document.activeElement.innerText`, &on); on == "Delete" {
			break
		}
		r.press("ArrowDown")
	}
	r.press("Enter")
	r.waitText("dialog h2", "Delete the message?")
	r.press("w", "h", "y", "Enter")
	r.waitText(".row.deleted", "m1")
	focused("m1")
	r.press("End")
	focused("l2")

	// The focus holds the list where it is.
	for i := range 3 {
		r.eval(`{ const c = document.querySelector('.composer'); c.querySelector('textarea').value = 'late `+fmt.Sprint(i)+`'; c.requestSubmit(); }`, nil)
		r.waitText(".row, .latest", fmt.Sprint("late ", i))
	}
	focused("l2")
}
