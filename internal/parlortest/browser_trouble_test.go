package parlortest_test

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/chromedp/cdproto/input"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// pressAt puts the mouse down, and up again, at a place of the page.
func (p *page) pressAt(x, y float64) {
	p.t.Helper()
	for _, kind := range []input.DispatchMouseEventType{"mousePressed", "mouseReleased"} {
		call(p, input.DispatchMouseEvent, input.DispatchMouseEventParams{Type: kind, X: x, Y: y, Button: input.MouseButtonLeft, ClickCount: 1})
	}
}

// A dialog closes by a press beside it, not by one between its fields; and it does not
// outlive the page that it belongs to.
func TestConsoleDialogs(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("lobby"), "")
	var box struct{ X, Y float64 }
	r.click("button >> Edit")
	r.fill("dialog input[pattern]", "other")
	r.eval(`(({ x, y }) => ({ x, y }))(document.querySelector('dialog').getBoundingClientRect())`, &box)
	r.pressAt(box.X+8, box.Y+60)
	r.wait(`document.querySelector('dialog[open] input').value === 'other'`)
	r.pressAt(box.X-20, box.Y+60)
	r.waitGone("dialog")

	// What is said of a dialog can be dismissed while it is open, and is there afterwards.
	r.mayCopy()
	r.click("button >> Edit")
	r.click("dialog button >> Copy as AWS CLI")
	r.waitText(".toast", "Copied")
	r.click(".toast button")
	r.waitGone(".toast")
	r.click("dialog button >> Copy as AWS CLI")
	r.waitText(".toast", "Copied")
	r.press("Escape")
	r.waitGone("dialog")
	r.waitText(".toast", "Copied")

	r.click("button >> Edit")
	r.waitText("dialog", "Edit the room")
	r.eval(`history.back()`, nil)
	r.waitText("h1", "Rooms")
	r.waitGone("dialog")
}

// Who is impatient, and closes a dialog on its way or goes on twice, sees what became of it.
func TestConsoleImpatience(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t, inConsole)
	api := s.Client(t)
	for i := range 120 {
		if _, err := api.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Name: aws.String(fmt.Sprintf("room-%03d", i))}); err != nil {
			t.Fatal(err)
		}
	}
	p := openBrowser(t).page(t, s.URL+"/console/", view{})
	p.waitText("tbody", "room-119")
	p.eval(`(() => {
		const real = fetch;
		globalThis.fetch = async (...all) => { await new Promise((done) => setTimeout(done, 400)); return real(...all); };
	})()`, nil)
	p.click("button >> Next page")
	p.click("button >> Next page") // too soon
	p.waitText("main", "51–100")
	p.wait(`document.activeElement.innerText === 'Next page'`)
	p.click("button >> Next page")
	p.waitText("main", "101–120")
	rows := p.texts("tbody tr td:first-child a")
	slices.Sort(rows)
	if got := len(slices.Compact(slices.Clone(rows))); got != len(rows) || got != 20 {
		t.Errorf("got %d rows, %d of them different, want 20: %q", len(rows), got, rows)
	}
	p.wait(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Next page').disabled`)

	p.click("nav a >> Rooms")
	p.waitText("tbody", "room-119")
	p.click("button >> Create a room")
	p.fill("dialog input[pattern]", "hurried")
	p.press("Enter", "Escape")
	p.wait(`location.hash.startsWith('#/rooms/arn')`)
	p.waitText("h1", "hurried")
}

// Another region: a room's address says its own, whatever this browser looked at last.
func TestConsoleRegions(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("lobby"), "")
	r.eval(`localStorage.setItem('parlor.region', 'eu-west-1')`, nil) // as another tab does
	r.open("about:blank")
	r.open(r.s.URL + "/console/#/rooms/" + url.PathEscape(r.arn))
	r.waitText("h1", "lobby")
	r.waitText(".stream .state", "Connected")
	r.wait(`document.querySelector('[aria-label=Region]').value === 'us-east-1'`)
	// As mail programs and people write it.
	r.open("about:blank")
	r.open(r.s.URL + "/console/#/rooms/" + r.arn + "/people")
	r.waitText("h1", "lobby")
	r.waitText("[role=tabpanel]", "Users with a connection")
	// No region is none.
	r.fill("[aria-label=Region]", "")
	r.press("Tab")
	r.click("nav a >> Rooms")
	r.waitText("h1", "Rooms")
	r.waitText("tbody", "lobby")
}

// In development keys can be asked for, too.
func TestConsoleDevelopmentWithKeys(t *testing.T) {
	t.Parallel()
	keys := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(keys, []byte(twoAccounts), 0o600); err != nil {
		t.Fatal(err)
	}
	s := parlortest.Start(t, func(c *config.Config) { c.Credentials = keys })
	b := openBrowser(t)
	p := b.page(t, s.URL+"/console/", view{})
	p.waitText("h1", "Sign in")
	signIn(p)
	p.waitText("main", "No rooms yet.")
	p.click("button >> Sign out")
	p.waitText("h1", "Sign in")
	p.open(s.URL + "/console/demo")
	p.waitText("#trouble", "Nobody is signed in")
}

// A clock that is wrong keeps nobody out, as with the AWS SDKs.
func TestConsoleClock(t *testing.T) {
	t.Parallel()
	s := startStrict(t)
	p := openBrowser(t).page(t, s.URL+"/console/", view{})
	p.waitText("h1", "Sign in")
	p.expect(`403`) // the first time
	p.eval(`(() => {
		const Real = Date;
		globalThis.Date = class extends Real {
			constructor(...all) { super(...(all.length ? all : [Real.now() - 400_000])); }
			static now() { return Real.now() - 400_000; }
		};
	})()`, nil)
	signIn(p)
	p.waitText("main", "No rooms yet.")
}

// What a key may not do is said where it would be seen, and what it may do is there.
func TestConsoleRestricted(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := filepath.Join(dir, "credentials")
	text := strings.Replace(twoAccounts, "[two]", "policy = "+filepath.Join(dir, "policy.json")+"\n[two]", 1)
	for name, text := range map[string]string{keys: text, filepath.Join(dir, "policy.json"): `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["ivschat:CreateChatToken","ivschat:GetRoom"],"Resource":"*"}]}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := startSeen(t, func(c *config.Config) {
		c.Mode, c.Credentials, c.Console = config.Serve, keys, true
		c.VerifyHandlers = false
	})
	p := openBrowser(t).page(t, s.URL+"/console/", view{})
	p.expect(`403`)
	signIn(p)
	p.waitText("h1", "Rooms")
	p.waitText("main .problem", "ListRooms")
	p.accessible()
	p.screenshot("rooms")
	for _, name := range []string{"Tokens", "Logging", "Node", "Calls"} {
		p.click("nav a >> " + name)
		p.waitText("nav [aria-current]", name)
		p.wait(`!document.querySelector('main').ariaBusy || document.querySelector('main').ariaBusy === 'false'`)
		p.screenshot(name)
	}
}

// Tags may have any name, those of JavaScript's objects too; what is only taken away is
// in the command.
func TestConsoleTagNames(t *testing.T) {
	t.Parallel()
	input := namedRoom("lobby")
	input.Tags = map[string]string{"toString": "a", "constructor": "b"}
	r := openRoom(t, parlortest.Start(t), view{}, input, "")
	r.mayCopy()
	r.click(".head button >> Tags")
	r.click("dialog .pair button")
	r.click("dialog .pair button")
	r.click("dialog button >> Copy as AWS CLI")
	r.waitText(".toast", "Copied")
	var copied string
	r.eval(`navigator.clipboard.readText()`, &copied)
	if !strings.Contains(copied, "untag-resource") || strings.Contains(copied, " tag-resource") {
		t.Errorf("the command is %q", copied)
	}
	r.click("dialog button[type=submit]")
	r.waitGone("dialog")
	out, err := r.client.ListTagsForResource(t.Context(), &ivschat.ListTagsForResourceInput{ResourceArn: &r.arn})
	if err != nil || len(out.Tags) != 0 {
		t.Errorf("got %v, %v, want no tags", out.Tags, err)
	}
}

// A user's name that closes the isolation that it stands in, or opens one and leaves it
// open, turns around nothing that follows it.
func TestConsoleNamesTurnNothing(t *testing.T) {
	t.Parallel()
	r := openRoom(t, parlortest.Start(t), view{}, namedRoom("lobby"), "")
	for _, name := range []string{"open \u202e\u2066", "shut \u2069\u202e"} {
		_, err := r.client.DisconnectUser(t.Context(), &ivschat.DisconnectUserInput{RoomIdentifier: &r.arn, UserId: &name})
		if err != nil {
			t.Fatal(err)
		}
		r.waitText(".row.event", name[:4])
		var forward bool
		r.eval(`(() => {
			const body = [...document.querySelectorAll('.row.event .body')].at(-1);
			const words = [...body.childNodes].find((node) => node.nodeType === 3 && node.data.includes('disconnected'));
			const at = (from, to) => { const range = new Range(); range.setStart(words, from); range.setEnd(words, to); return range.getBoundingClientRect().x; };
			const first = words.data.indexOf('was');
			return at(first, first + 1) < at(first + 2, first + 3);
		})()`, &forward)
		if !forward {
			t.Errorf("the words after %q run backwards", name)
		}
	}
}
