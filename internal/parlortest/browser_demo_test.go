package parlortest_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// The panes of the demo, by the order in which their users sit down.
const host, mia, jonas = ".pane[data-tone='0']", ".pane[data-tone='1']", ".pane[data-tone='2']"

// demo opens the demo page, and returns when everybody is in the room.
func demo(t *testing.T, s *parlortest.Server, v view) *page {
	t.Helper()
	p := openBrowser(t).page(t, s.URL+"/console/demo", v)
	p.seated(host, mia, jonas)
	return p
}

// seated returns when the panes are connected.
func (p *page) seated(panes ...string) {
	p.t.Helper()
	for _, pane := range panes {
		p.wait(fmt.Sprintf(`document.querySelector(%s)?.dataset.state === 'connected'`, quote(pane)))
	}
}

// says has somebody write a message, and returns when all have it.
func (p *page) says(pane, text string) {
	p.t.Helper()
	p.fill(pane+" input", text)
	p.press("Enter")
	for _, pane := range []string{host, mia, jonas} {
		p.waitText(pane+" .text", text)
	}
}

// TestBrowserDemo drives the demo page as the audience of a talk would see it.
func TestBrowserDemo(t *testing.T) {
	t.Run("two talk and see the same", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		p.waitText("#watching", "2 watching")
		p.says(mia, "Hello!")
		p.click(jonas + " input")
		p.says(jonas, "<b>Hello</b> & welcome <script>alert(1)</script>")
		// At the same time: whatever the order is, it is one.
		p.eval(`for (let i = 0; i < 4; i++) for (const tone of [1, 2]) {
			const form = document.querySelector('.pane[data-tone="' + tone + '"] form');
			form.querySelector('input').value = tone + ' says ' + i;
			form.requestSubmit();
		}`, nil)
		for _, pane := range []string{host, mia, jonas} {
			p.wait(fmt.Sprintf(`document.querySelectorAll(%s).length === 10`, quote(pane+" .message")))
		}
		var seen [3][]string
		p.eval(fmt.Sprintf(`[%s, %s, %s].map((s) => [...document.querySelectorAll(s + ' .message')].map((m) => m.querySelector('.name').textContent + ': ' + m.querySelector('.text').textContent))`,
			quote(host), quote(mia), quote(jonas)), &seen)
		if got, want := seen[0][:2], []string{"Mia: Hello!", "Jonas: <b>Hello</b> & welcome <script>alert(1)</script>"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if !slices.Equal(seen[0], seen[1]) || !slices.Equal(seen[1], seen[2]) {
			t.Errorf("not one order:\nthe host saw %q\nMia saw      %q\nJonas saw    %q", seen[0], seen[1], seen[2])
		}
		p.screenshot("talk")
	})

	t.Run("a message vanishes", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		p.says(mia, "I should not have said this")
		p.says(jonas, "Said what?")
		p.click(host + " button >> Delete “I should not")
		p.waitGone(".text >> I should not")
		p.wait(`document.activeElement === document.querySelector(` + quote(host+" .messages") + `)`)
		if got, want := len(p.texts(".text >> Said what?")), 3; got != want {
			t.Errorf("got the other message in %d panes, want %d", got, want)
		}
	})

	t.Run("one is removed", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		p.says(jonas, "Follow me on elsewhere.example")
		p.click(host + " button >> Remove Jonas")
		p.waitText(jonas+" .over", "The host asked you to leave.")
		p.waitText(jonas+" .state", "ended")
		p.waitText(mia+" .messages", "Jonas was removed")
		p.waitText("#watching", "1 watching")
		p.screenshot("removed")
		p.accessible()
		p.click(jonas + " button >> Join again")
		p.seated(mia, jonas)
		p.says(jonas, "Sorry")
	})

	t.Run("reactions", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		p.click(mia + " button >> Applause")
		p.wait(`document.querySelectorAll('#reactions span').length === 1`)
		p.says(jonas, "And a message")
		if got, want := len(p.texts(".text")), 3; got != want {
			t.Errorf("got %d messages in three panes, want %d: a reaction is none", got, want)
		}
		p.wait(`document.querySelectorAll('#reactions span').length === 0`)
	})

	t.Run("a cut line", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		p.fill(mia+" input", "half a sen")
		p.click(mia + " .cut")
		p.waitText(mia+" .state", "reconnecting")
		p.waitText("#watching", "1 watching")
		p.screenshot("reconnecting")
		p.seated(mia)
		var kept string
		p.eval(`document.querySelector(`+quote(mia+" input")+`).value`, &kept)
		if kept != "half a sen" {
			t.Errorf("got %q in the field after the line was back, want what was there", kept)
		}
		p.says(mia, "Back again")
	})

	t.Run("a session runs out", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		// The sockets of the next connections are kept, so that one can be told what a
		// server tells it after an hour.
		p.eval(`window.sockets = []; window.WebSocket = class extends WebSocket {
			constructor(...all) { super(...all); window.sockets.push(this); }
		}`, nil)
		p.click(mia + " .cut")
		p.wait(`window.sockets[0]?.readyState === WebSocket.OPEN`)
		p.seated(mia)
		p.eval(`window.sockets[0].onmessage({ data: '{"Type":"ERROR","Id":"0123456789ab","RequestId":"","ErrorCode":401,"ErrorMessage":"Session expired"}' })`, nil)
		p.wait(`window.sockets[1]?.readyState === WebSocket.OPEN && window.sockets[0].readyState > WebSocket.OPEN`)
		p.seated(mia)
		p.says(mia, "Another hour, please")
	})

	t.Run("too many messages", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		p.eval(`for (let i = 0; i < 30; i++) {
			document.querySelector(`+quote(mia+" input")+`).value = 'Message ' + i;
			document.querySelector(`+quote(mia+" form")+`).requestSubmit();
		}`, nil)
		p.wait(`/rate|limit|many/i.test(document.querySelector(` + quote(mia+" .error") + `).textContent)`)
		p.screenshot("error")
		p.wait(`new Promise((f) => setTimeout(f, 1100, true))`)
		p.says(mia, "Slower now")
		p.waitGone(mia + " .error")
	})

	t.Run("more viewers talk by themselves", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{})
		p.click("#add")
		p.click("#add")
		p.waitText("#watching", "4 watching")
		p.wait(`document.querySelector('#add').disabled`)
		p.click("#talk")
		for _, name := range []string{"Mia", "Jonas", "Aiko", "Tunde"} {
			p.waitText(host+" .name", name)
		}
		p.screenshot("four")
	})

	t.Run("its look", func(t *testing.T) {
		t.Parallel()
		s := parlortest.Start(t)
		p := demo(t, s, view{theme: "dark"})
		p.says(mia, "Is that the full moon?")
		p.accessible()
		p.unclipped()
		p.screenshot("dark")
		stops := p.focusOrder()
		want := []string{
			"link Console", "link Its code", "button Theme: system", "button Pause", "button + Add a viewer", "checkbox Let them talk",
			"log What Host sees", "button Delete “Is that the full moon?”", "button Remove Mia", "textbox Message from Host", "button Send",
			"button Cut the line of Mia", "log What Mia sees", "button Heart", "button Applause", "button Laughter", "button Surprise", "textbox Message from Mia", "button Send",
			"button Cut the line of Jonas", "log What Jonas sees", "button Heart", "button Applause", "button Laughter", "button Surprise", "textbox Message from Jonas", "button Send",
		}
		if !slices.Equal(stops, want) {
			t.Errorf("got the stops\n%q, want\n%q", stops, want)
		}
		// The choice of a theme lasts, and the console's is the same.
		p.click("#theme")
		p.click("#theme")
		p.waitText("#theme", "light")
		p.open(s.URL + "/console/demo")
		p.waitText("#theme", "light")
		p.wait(`getComputedStyle(document.body).backgroundColor === 'rgb(241, 239, 248)'`)
		p.click("#theme")
		p.wait(`document.documentElement.dataset.theme === '' && localStorage.getItem('parlor.theme') === ''`)
	})

	t.Run("on a phone", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{phone: true})
		p.fill(mia+" input", "Hello from the train")
		p.press("Enter")
		p.waitText(mia+" .text", "Hello from the train")
		if got, want := p.texts(".pane h2"), []string{"Mia"}; !slices.Equal(got, want) {
			t.Errorf("got the panes %q, want %q", got, want)
		}
		p.screenshot("mia")
		p.accessible()
		p.unclipped()
		p.click("#tabs button >> Host")
		p.waitText(host+" .text", "Hello from the train")
		p.waitGone(mia)
		p.screenshot("host")
		p.accessible()
		p.unclipped()
	})

	t.Run("in a small window", func(t *testing.T) {
		t.Parallel()
		for _, v := range []view{{width: 320, height: 568}, {width: 667, height: 375}, {width: 820, height: 400}, {width: 1000, height: 700}} {
			p := demo(t, parlortest.Start(t), v)
			p.fill(mia+" input", "Hello")
			p.press("Enter")
			p.waitText(mia+" .text", "Hello")
			var tall int
			p.eval(`document.querySelector(`+quote(mia+" .messages")+`).clientHeight`, &tall)
			if tall < 100 {
				t.Errorf("%d by %d: got %d pixels for the messages", v.width, v.height, tall)
			}
			p.unclipped()
			p.screenshot(fmt.Sprintf("%dx%d", v.width, v.height))
			p.done()
		}
	})

	t.Run("standing still", func(t *testing.T) {
		t.Parallel()
		p := demo(t, parlortest.Start(t), view{still: true})
		moving := `document.getAnimations().filter((a) => a.playState === 'running' && a.effect.getComputedTiming().endTime === Infinity).length`
		p.wait(moving + ` === 0`)
		p.click("button >> Play")
		p.wait(moving + ` > 5`)
		p.click("button >> Pause")
		p.wait(moving + ` === 0`)
	})

	t.Run("short enough to read", func(t *testing.T) {
		t.Parallel()
		text, err := os.ReadFile("../console/assets/demo.js")
		if err != nil {
			t.Fatal(err)
		}
		if got, want := bytes.Count(text, []byte("\n")), 200; got >= want {
			t.Errorf("got %d lines, want less than %d", got, want)
		}
		for i, line := range strings.Split(string(text), "\n") {
			if len([]rune(line)) > 130 {
				t.Errorf("line %d is golf: %s", i+1, line)
			}
		}
	})
}

// Two windows that both find no room still meet in one.
func TestBrowserDemoRoomIsShared(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t)
	p, q := openBrowser(t).page(t, s.URL+"/console/demo", view{}), openBrowser(t).page(t, s.URL+"/console/demo", view{})
	p.seated(host, mia, jonas)
	q.seated(host, mia, jonas)
	p.says(mia, "Is anybody out there?")
	q.waitText(jonas+" .text", "Is anybody out there?")
	q.says(mia, "Another Mia")
	p.waitText(host+" .text", "Another Mia")
}

// A server that goes away and comes back is a line that breaks, and nobody is told to
// leave.
func TestBrowserDemoReconnects(t *testing.T) {
	t.Parallel()
	s := parlortest.Start(t)
	p := demo(t, s, view{})
	p.expect(`WebSocket|ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_SOCKET_NOT_CONNECTED|answered 503|status of 503`)
	p.says(mia, "Before")
	s.Stop()
	p.waitText(mia+" .state", "reconnecting")
	p.waitText(jonas+" .state", "reconnecting")
	parlortest.Start(t, func(c *config.Config) { c.Data, c.Listen = s.Data, strings.TrimPrefix(s.URL, "http://") })
	p.seated(host, mia, jonas)
	p.says(jonas, "After")
	if got, want := len(p.texts(".text >> Before")), 3; got != want {
		t.Errorf("got what was said before in %d panes, want %d", got, want)
	}
}

// Where access keys count, the demo needs one, and says so.
func TestBrowserDemoNeedsAKey(t *testing.T) {
	t.Parallel()
	credentials := filepath.Join(t.TempDir(), "credentials")
	text := "[ann]\naws_access_key_id = AKIDEXAMPLEPARLOR001\naws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\naws_account_id = 123456789012\n"
	if err := os.WriteFile(credentials, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := parlortest.Start(t, func(c *config.Config) {
		data := t.TempDir()
		*c = config.Default(config.Serve)
		c.Listen, c.Data, c.Credentials, c.LogLevel, c.Console = "127.0.0.1:0", data, credentials, "warn", true
	})
	p := openBrowser(t).page(t, s.URL+"/console/demo", view{})
	p.waitText("#trouble", "ign in")
	p.accessible()
	p.screenshot("no-key")
	if got, want := p.texts("#trouble a"), []string{"Open the console"}; !slices.Equal(got, want) {
		t.Errorf("got the links %q, want %q", got, want)
	}
	// The tab's own key is all it takes.
	p.eval(`sessionStorage.setItem('parlor.key', JSON.stringify({ accessKey: 'AKIDEXAMPLEPARLOR001', secret: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }))`, nil)
	p.open(s.URL + "/console/demo")
	p.seated(host, mia, jonas)
	p.says(mia, "Signed")
	p.waitGone("#trouble")
}
