package parlortest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/coder/websocket"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// inConsole has the console look where the tests' clients work.
func inConsole(c *config.Config) {
	c.Account = parlortest.Account
	c.Regions = []string{parlortest.Region}
}

// The list of rooms, from the first to the last of them, as a person goes about it.
func TestConsoleRooms(t *testing.T) {
	s := parlortest.Start(t, inConsole)
	api := s.Client(t)
	p := openBrowser(t).page(t, s.URL+"/console", view{}) // without its slash, as people type it
	p.waitText("main", "No rooms yet.")
	p.accessible()
	p.screenshot("none")

	p.click("button >> Create a room")
	p.fill("dialog input[pattern]", "bad name")
	p.click("dialog button[type=submit]") // which the browser itself refuses
	p.fill("dialog input[pattern]", "lobby")
	p.click("dialog fieldset .add")
	p.fill("dialog .pair input:nth-child(1)", "team")
	p.fill("dialog .pair input:nth-child(2)", "li've")
	p.accessible()
	p.screenshot("create")
	// The clipboard is only for those who ask for it; what is copied is said too.
	p.eval(`navigator.clipboard.writeText = (text) => { globalThis.copied = text; return Promise.resolve(); }`, nil)
	p.click("dialog .actions button:first-child")
	var copied string
	p.until("the command is copied", `globalThis.copied ?? ''`, &copied, func() bool { return copied != "" })
	want := `aws ivschat create-room --name lobby --maximum-message-length 500 --maximum-message-rate-per-second 10 --tags '{"team":"li'\''ve"}' --region us-west-2 --endpoint-url ` + s.URL
	if copied != want {
		t.Errorf("the command:\ngot  %s\nwant %s", copied, want)
	}
	p.click("dialog button[type=submit]")
	p.wait(`location.hash.startsWith('#/rooms/arn')`)
	list, err := api.ListRooms(t.Context(), &ivschat.ListRoomsInput{})
	if err != nil || len(list.Rooms) != 1 || aws.ToString(list.Rooms[0].Name) != "lobby" || list.Rooms[0].Tags["team"] != "li've" {
		t.Fatalf("rooms: %+v, %v", list, err)
	}

	p.click("nav a")
	p.waitText("tbody tr", "lobby")
	p.waitText("tbody tr", "team: li've")
	connection, _, err := websocket.Dial(t.Context(), s.WebSocketURL, &websocket.DialOptions{Subprotocols: []string{token(t, api, *list.Rooms[0].Arn, "ann")}})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.CloseNow()
	var live []string
	p.until("the connection counts", `[...document.querySelectorAll('td.number')].map((e) => e.innerText)`, &live, func() bool { return slices.Contains(live, "1") })

	p.click("nav a >> Calls")
	p.waitText("main", "CreateRoom")
	p.waitText("main", "200")
	p.accessible()
	p.screenshot("calls")
}

// token is a chat token of a user without capabilities.
func token(t *testing.T, api *ivschat.Client, room, user string) string {
	t.Helper()
	out, err := api.CreateChatToken(t.Context(), &ivschat.CreateChatTokenInput{RoomIdentifier: &room, UserId: &user})
	if err != nil {
		t.Fatal(err)
	}
	return *out.Token
}

func TestConsoleThousandRooms(t *testing.T) {
	s := parlortest.Start(t, inConsole)
	api := s.Client(t)
	for i := range 1000 {
		tags := map[string]string{}
		if i == 7 {
			tags["needle"] = "in the haystack"
		}
		if _, err := api.CreateRoom(t.Context(), &ivschat.CreateRoomInput{Name: aws.String(fmt.Sprintf("room-%03d", i)), Tags: tags}); err != nil {
			t.Fatal(err)
		}
	}
	b := openBrowser(t)
	p := b.page(t, s.URL+"/console/", view{})
	p.waitText("main", "room-999")
	p.screenshot("light")
	if got := len(p.texts("tbody tr")); got != 50 {
		t.Errorf("got %d rows, want 50", got)
	}
	p.click("button >> Next page")
	p.waitText("main", "room-949")
	p.waitText("main", "51–100")
	p.click("button >> Previous page")
	p.waitText("main", "room-999")
	p.fill("input[type=search]", "HAYSTACK")
	p.waitGone("tbody tr:nth-child(2)")
	p.waitText("tbody", "room-007")
	p.fill("input[type=search]", "no such room")
	p.waitText("main", "No room matches.")
	p.fill("input[type=search]", "room-1")
	p.waitText("main", "room-199")
	p.click("button >> Next page")
	p.waitText("main", "51–100")
	p.waitText("main", "room-100")
	p.done()

	dark := b.page(t, s.URL+"/console/", view{theme: "dark"})
	dark.waitText("main", "room-999")
	dark.accessible()
	dark.screenshot("dark")
	dark.done()
	phone := b.page(t, s.URL+"/console/", view{phone: true})
	phone.waitText("main", "room-999")
	phone.accessible()
	phone.screenshot("phone")
	var wide bool
	if phone.eval(`document.documentElement.scrollWidth > innerWidth`, &wide); wide {
		t.Error("the page is wider than a phone")
	}
}

// A server for others asks who is there; the key stays in the tab.
func TestConsoleSignIn(t *testing.T) {
	file := filepath.Join(t.TempDir(), "credentials")
	text := "[ops]\naws_access_key_id = AKIAPARLORTESTS00001\naws_secret_access_key = wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY01\naws_account_id = " + parlortest.Account + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := parlortest.Start(t, inConsole, func(c *config.Config) {
		*c = with(config.Default(config.Serve), *c)
		c.Credentials, c.Console = file, true
	})
	b := openBrowser(t)
	p := b.page(t, s.URL+"/console/", view{})
	p.waitText("h1", "Sign in")
	p.accessible()
	p.screenshot("light")
	p.fill("[autocomplete=username]", "AKIAPARLORTESTS00001")
	p.fill("[autocomplete=current-password]", "not the secret")
	p.expect(`answered 403|403 \(Forbidden\)`)
	p.press("Enter")
	p.waitText("[role=alert]", "InvalidSignatureException")
	p.fill("[autocomplete=current-password]", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY01")
	p.press("Enter")
	p.waitText("main", "No rooms yet.")
	p.open(s.URL + "/console/#/calls")
	p.open(s.URL + "/console/") // the tab is still signed in
	p.waitText("main", "No rooms yet.")
	var kept string
	p.eval(`JSON.stringify(localStorage) + document.cookie`, &kept)
	if strings.Contains(kept, "AKIA") || strings.Contains(kept, "wJalr") {
		t.Errorf("kept beyond the tab: %s", kept)
	}
	other := b.page(t, s.URL+"/console/", view{})
	other.waitText("h1", "Sign in")
	other.done()
	p.click("button >> Sign out")
	p.waitText("h1", "Sign in")
}

// with is a configuration of another mode, which listens and keeps its data as the
// given one does.
func with(c, from config.Config) config.Config {
	c.Listen, c.Data, c.LogLevel, c.Account, c.Regions = from.Listen, from.Data, from.LogLevel, from.Account, from.Regions
	c.DrainWindow, c.Destinations, c.VerifyHandlers = 0, from.Destinations, false
	return c
}
