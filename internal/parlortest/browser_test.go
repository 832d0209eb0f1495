package parlortest_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/inspector"
	"github.com/chromedp/cdproto/log"
	cdpnetwork "github.com/chromedp/cdproto/network"
	cdppage "github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"parlor/internal/config"
)

// The rig of the tests that look at pages with a real Chromium:
//
//	b := openBrowser(t)                       // cookies and storage of its own
//	p := b.page(t, s.URL+"/console/", view{}) // a tab; view says how large, dark, …
//	p.click("button >> Create a room")        // CSS, then what it says
//	p.fill("#name", "lobby")
//	p.press("Enter")
//	p.waitText("h1", "lobby")
//	p.accessible()
//	p.screenshot("room")
//	p.done()
//
// A step waits until it can be done, for browserPatience at most, and then fails the
// test. A page fails its test when it ends, if there was anything on its console that is
// a warning or worse, an exception that nobody caught, a breach of its content security
// policy, a request that failed, or one to a host that is not this machine. What a test
// provokes, it says with expect.

// browserPatience bounds what a test waits for in a page, on a loaded machine.
const browserPatience = 30 * time.Second

// view is how a page is looked at.
type view struct {
	width, height int    // in CSS pixels; 1280 by 800 if 0
	phone         bool   // 390 by 844, touched, at two device pixels for one
	theme         string // what the system prefers: "light" if empty, or "dark"
	still         bool   // the system prefers reduced motion
}

// browser is a profile of its own in the Chromium that all tests share.
type browser struct {
	ctx context.Context
}

var chromium struct {
	mu  sync.Mutex
	ctx context.Context // of the process; nil before the first test
}

// openBrowser returns a fresh profile, that is gone when the test ends. The process
// starts with the first and ends with the last test of the package.
func openBrowser(t testing.TB) *browser {
	t.Helper()
	ctx, cancel := chromedp.NewContext(startChromium(t), chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("open a browser profile: %v", err)
	}
	return &browser{ctx: ctx}
}

func startChromium(t testing.TB) context.Context {
	t.Helper()
	chromium.mu.Lock()
	defer chromium.mu.Unlock()
	if chromium.ctx != nil {
		return chromium.ctx
	}
	path := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, _ = exec.LookPath(name); path != "" {
			break
		}
	}
	if path == "" {
		missing(t, "Chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path),
		// Whatever a page asks for, nothing leaves this machine.
		chromedp.Flag("host-resolver-rules", "MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-gpu", true),
		chromedp.Flag("hide-scrollbars", false),
	)
	allocator, cancelAllocator := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	// The browser lives as long as the context of its first command, which therefore
	// has no deadline of its own.
	started := make(chan error, 1)
	go func() { started <- chromedp.Do(ctx) }()
	select {
	case err := <-started:
		if err != nil {
			cancel()
			cancelAllocator()
			t.Fatalf("start %s: %v", path, err)
		}
	case <-time.After(browserPatience):
		cancel()
		cancelAllocator()
		t.Fatalf("%s did not start in %s", path, browserPatience)
	}
	shared.mu.Lock()
	defer shared.mu.Unlock()
	shared.all.Cleanup(func() {
		cancel()
		cancelAllocator()
	})
	chromium.ctx = ctx
	return ctx
}

// page is one tab. Its methods are for the test's own goroutine.
type page struct {
	t     testing.TB
	ctx   context.Context
	close func()

	expected []*regexp.Regexp
	ended    bool

	mu       sync.Mutex
	troubles []string
	hosts    map[string]bool
}

// page opens a tab and returns when the document has loaded.
func (b *browser) page(t testing.TB, address string, v view) *page {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.ctx)
	p := &page{t: t, ctx: ctx, close: cancel, hosts: map[string]bool{}}
	if err := chromedp.Listen(ctx, p.watch); err != nil {
		t.Fatalf("open a tab: %v", err)
	}
	// The page ends before the server that the test started earlier does.
	t.Cleanup(p.done)
	if v.phone {
		v.width, v.height = 390, 844
	}
	if v.width == 0 {
		v.width, v.height = 1280, 800
	}
	metrics := emulation.SetDeviceMetricsOverrideParams{Width: int64(v.width), Height: int64(v.height), DeviceScaleFactor: 1}
	if v.phone {
		metrics.DeviceScaleFactor, metrics.Mobile = 2, true
		call(p, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: true})
	}
	call(p, emulation.SetDeviceMetricsOverride, metrics)
	call(p, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	call(p, audits.Enable, cdp.Empty{})
	p.prefer(v.theme, v.still)
	p.open(address)
	return p
}

// open goes to an address, and returns when the document has loaded.
func (p *page) open(address string) {
	p.t.Helper()
	p.do("open "+address, chromedp.Navigate(address))
}

// prefer says what the system prefers: "dark" or "light" (or "", the same), and whether
// things move.
func (p *page) prefer(theme string, still bool) {
	p.t.Helper()
	if theme == "" {
		theme = "light"
	}
	motion := "no-preference"
	if still {
		motion = "reduce"
	}
	call(p, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
		{Name: "prefers-color-scheme", Value: theme}, {Name: "prefers-reduced-motion", Value: motion},
	}})
}

// call is a command of the DevTools protocol.
func call[P, R any](p *page, command cdp.Command[P, R], params P) R {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	result, err := chromedp.Call(ctx, command, params)
	if err != nil {
		p.fail("%s: %v", command.Method, err)
	}
	return result
}

func (p *page) do(what string, action chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	if err := chromedp.Do(ctx, action); err != nil {
		p.fail("%s: %v", what, err)
	}
}

// fail ends the test, and says what the page looks like.
func (p *page) fail(format string, arguments ...any) {
	p.t.Helper()
	p.screenshot("failed")
	p.t.Fatalf(format+"%s", append(arguments, p.state())...)
}

// state is what a person would want to know about a page on which a step failed.
func (p *page) state() string {
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	seen, err := chromedp.Run(ctx, chromedp.Evaluate[string](`location.pathname + location.hash + '\n' + document.body.innerText.slice(0, 1500)`))
	if err != nil {
		seen = err.Error()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("\n--- the page shows ---\n%s\n--- its troubles ---\n%s", seen, strings.Join(p.troubles, "\n"))
}

// eval runs JavaScript in the page, waits for what it promises, and decodes its value
// into out, unless that is nil.
func (p *page) eval(script string, out any) {
	p.t.Helper()
	if err := p.evaluate(script, 0, out); err != nil {
		p.fail("%s: %v", script, err)
	}
}

// evaluate is eval in a world, 0 for the page's own.
func (p *page) evaluate(script string, world runtime.ExecutionContextID, out any) error {
	p.t.Helper()
	yes := true
	result := call(p, runtime.Evaluate, runtime.EvaluateParams{Expression: script, ContextID: world, ReturnByValue: &yes, AwaitPromise: &yes, UserGesture: &yes})
	if thrown := result.ExceptionDetails; thrown != nil {
		if thrown.Exception != nil && thrown.Exception.Description != "" {
			return errors.New(thrown.Exception.Description)
		}
		return errors.New(thrown.Text)
	}
	if out == nil {
		return nil
	}
	value := []byte(result.Result.Value)
	if len(value) == 0 {
		value = []byte("null") // undefined
	}
	return json.Unmarshal(value, out)
}

// find is the function that selectors mean: CSS, and after " >> " a part of what the
// element says, or is labelled. Elements that are not displayed are not found.
const find = `((selector) => {
	const [css, text] = selector.split(' >> ');
	return [...document.querySelectorAll(css)].filter((e) => e.checkVisibility({ visibilityProperty: true })
		&& (!text || (e.innerText + ' ' + (e.ariaLabel ?? '')).includes(text)));
})`

func quote(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err) // strings always can be
	}
	return string(text)
}

// until evaluates a script until its value, decoded into out, is what ok wants.
func (p *page) until(what, script string, out any, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(browserPatience); ; time.Sleep(20 * time.Millisecond) {
		p.eval(script, out)
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			text, _ := json.Marshal(out)
			p.fail("%s: not in %s; last: %s", what, browserPatience, text)
		}
	}
}

// wait returns when a JavaScript expression is true, or promises to be.
func (p *page) wait(expression string) {
	p.t.Helper()
	var yes bool
	p.until(expression, "Promise.resolve("+expression+").then(Boolean)", &yes, func() bool { return yes })
}

// waitText returns when an element of the selector says the text, among other things.
func (p *page) waitText(selector, text string) {
	p.t.Helper()
	said := []string{}
	p.until(fmt.Sprintf("%q says %q", selector, text), find+"("+quote(selector)+").map((e) => e.innerText)", &said, func() bool {
		return strings.Contains(strings.Join(said, "\x00"), text)
	})
}

// waitGone returns when there is no such element, or it is not displayed.
func (p *page) waitGone(selector string) {
	p.t.Helper()
	count := 0
	p.until(fmt.Sprintf("%q is gone", selector), find+"("+quote(selector)+").length", &count, func() bool { return count == 0 })
}

// texts are what the elements of the selector say, as they are displayed.
func (p *page) texts(selector string) (all []string) {
	p.t.Helper()
	p.eval(find+"("+quote(selector)+").map((e) => e.innerText.trim())", &all)
	return all
}

// click presses the mouse in the middle of the first element of the selector, when that
// is in sight, at rest, enabled, and not covered by another.
func (p *page) click(selector string) {
	p.t.Helper()
	type spot struct {
		X, Y float64
		Why  string
	}
	var at, before spot
	p.until(fmt.Sprintf("click %q", selector), `((e) => {
		if (!e) return { why: 'there is none' };
		if (e.disabled) return { why: 'it is disabled' };
		e.scrollIntoView({ block: 'nearest', inline: 'nearest', behavior: 'instant' });
		const box = e.getBoundingClientRect();
		const at = { x: box.x + box.width / 2, y: box.y + box.height / 2, why: '' };
		const hit = document.elementFromPoint(at.x, at.y);
		if (!hit || !e.contains(hit) && !hit.contains(e.labels?.[0] ?? document.head)) at.why = 'it is covered by ' + (hit?.outerHTML ?? 'nothing').slice(0, 120);
		return at;
	})(`+find+"("+quote(selector)+")[0])", &at, func() bool {
		still := at == before && at.Why == ""
		before = at
		return still
	})
	for _, kind := range []input.DispatchMouseEventType{chromedp.MouseMoved, chromedp.MousePressed, chromedp.MouseReleased} {
		event := input.DispatchMouseEventParams{Type: kind, X: at.X, Y: at.Y}
		if kind != chromedp.MouseMoved {
			event.Button, event.ClickCount = input.MouseButtonLeft, 1
		}
		call(p, input.DispatchMouseEvent, event)
	}
}

// fill clicks a field and replaces what is in it, as if pasted.
func (p *page) fill(selector, text string) {
	p.t.Helper()
	p.click(selector)
	p.eval(find+"("+quote(selector)+")[0].select()", nil)
	if text == "" {
		p.press("Backspace")
		return
	}
	call(p, input.InsertText, input.InsertTextParams{Text: text})
}

var keyNames = map[string]string{
	"Enter": kb.Enter, "Tab": kb.Tab, "Escape": kb.Escape, "Space": " ", "Backspace": kb.Backspace, "Delete": kb.Delete,
	"ArrowUp": kb.ArrowUp, "ArrowDown": kb.ArrowDown, "ArrowLeft": kb.ArrowLeft, "ArrowRight": kb.ArrowRight,
	"Home": kb.Home, "End": kb.End, "PageUp": kb.PageUp, "PageDown": kb.PageDown,
}

// press types keys into what has the focus: "Enter", "Shift+Tab", "Control+k", "/".
func (p *page) press(keys ...string) {
	p.t.Helper()
	for _, key := range keys {
		parts := strings.Split(key, "+")
		if key == "+" {
			parts = []string{key}
		}
		text, named := keyNames[parts[len(parts)-1]]
		if !named {
			text = parts[len(parts)-1]
		}
		var modifiers chromedp.Modifier
		for _, modifier := range parts[:len(parts)-1] {
			modifiers |= map[string]chromedp.Modifier{
				"Shift": chromedp.ModifierShift, "Control": chromedp.ModifierCtrl, "Alt": chromedp.ModifierAlt, "Meta": chromedp.ModifierMeta,
			}[modifier]
		}
		for _, r := range text {
			// What a key types is sent with its going down: a page that takes the key for
			// itself thereby keeps it from being typed, as with a person's.
			events := kb.Encode(r)
			if len(events) == 3 {
				if modifiers&^chromedp.ModifierShift == 0 {
					events[0].Text, events[0].UnmodifiedText = events[1].Text, events[1].UnmodifiedText
				}
				events = slices.Delete(events, 1, 2)
			}
			for _, event := range events {
				event.Modifiers |= int64(modifiers)
				call(p, input.DispatchKeyEvent, *event)
			}
		}
	}
}

// screenshot writes what is in sight to NAME.png in the directory that PARLOR_SCREENSHOTS
// names; without the variable it does nothing.
func (p *page) screenshot(name string) {
	p.t.Helper()
	dir := os.Getenv("PARLOR_SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, browserPatience)
	defer cancel()
	picture, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, strings.ReplaceAll(p.t.Name(), "/", "-")+"-"+name+".png"), picture, 0o644)
	}
	if err != nil {
		p.t.Errorf("screenshot %s: %v", name, err)
	}
}

// expect excuses troubles that the pattern matches, of before and after: those that the
// test provokes.
func (p *page) expect(pattern string) { p.expected = append(p.expected, regexp.MustCompile(pattern)) }

// done closes the tab and fails the test for what went wrong in it. It is called at the
// end of the test by itself.
func (p *page) done() {
	p.t.Helper()
	if p.ended {
		return
	}
	p.ended = true
	p.close() // returns when the tab is closed
	p.mu.Lock()
	defer p.mu.Unlock()
next:
	for _, trouble := range p.troubles {
		for _, e := range p.expected {
			if e.MatchString(trouble) {
				continue next
			}
		}
		p.t.Errorf("the page: %s", trouble)
	}
	if len(p.hosts) == 0 {
		p.t.Error("the page requested nothing: was it looked at?")
	}
	for host := range p.hosts {
		if !config.LoopbackName(host) {
			p.t.Errorf("the page sent a request to %q", host)
		}
	}
}

// watch takes down what a page's end is judged by. The browser's messages wait for it.
func (p *page) watch(event any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	trouble := func(format string, arguments ...any) {
		if len(p.troubles) < 100 {
			p.troubles = append(p.troubles, fmt.Sprintf(format, arguments...))
		}
	}
	requested := func(address string) {
		u, err := url.Parse(address)
		switch {
		case err != nil:
			trouble("requested %q: %v", address, err)
		case u.Scheme == "data" || u.Scheme == "blob" || u.Scheme == "about":
		default:
			p.hosts[u.Hostname()] = true
		}
	}
	switch e := event.(type) {
	case *runtime.EventConsoleAPICalled:
		switch e.Type {
		case runtime.ConsoleAPICalledTypeError, runtime.ConsoleAPICalledTypeWarning, runtime.ConsoleAPICalledTypeAssert:
			var said []string
			for _, argument := range e.Args {
				if argument.Value != nil {
					said = append(said, string(argument.Value))
				} else {
					said = append(said, argument.Description)
				}
			}
			trouble("console.%s: %s", e.Type, strings.Join(said, " "))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if thrown := e.ExceptionDetails.Exception; thrown != nil {
			text += " " + thrown.Description + string(thrown.Value)
		}
		trouble("exception: %s", text)
	case *log.EventEntryAdded:
		if e.Entry.Level == log.EntryLevelError || e.Entry.Level == log.EntryLevelWarning {
			trouble("console: %s: %s (%s)", e.Entry.Level, e.Entry.Text, e.Entry.URL)
		}
	case *audits.EventIssueAdded:
		switch details := e.Issue.Details; {
		case details.ContentSecurityPolicyIssueDetails != nil:
			d := details.ContentSecurityPolicyIssueDetails
			trouble("content security policy: %s, %s %s", d.ContentSecurityPolicyViolationType, d.ViolatedDirective, d.BlockedURL)
		case details.QuirksModeIssueDetails != nil, details.DeprecationIssueDetails != nil, details.MixedContentIssueDetails != nil, details.CorsIssueDetails != nil:
			trouble("issue: %s", e.Issue.Code)
		}
	case *cdpnetwork.EventRequestWillBeSent:
		requested(e.Request.URL)
	case *cdpnetwork.EventWebSocketCreated:
		requested(e.URL)
	case *cdpnetwork.EventResponseReceived:
		if e.Response.Status >= 400 {
			trouble("answered %d: %s", e.Response.Status, e.Response.URL)
		}
	case *cdpnetwork.EventLoadingFailed:
		if !e.Canceled {
			trouble("request failed: %s %s", e.Type, e.ErrorText)
		}
	case *cdpnetwork.EventWebSocketFrameError:
		trouble("WebSocket: %s", e.ErrorMessage)
	case *cdppage.EventJavascriptDialogOpening:
		trouble("a dialog that blocks the page: %s", e.Message)
	case *inspector.EventTargetCrashed:
		trouble("the tab crashed")
	}
}
