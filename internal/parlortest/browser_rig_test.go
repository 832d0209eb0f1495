package parlortest_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// judged is a test that keeps what it is told, so that the rig's verdicts can be judged.
type judged struct {
	testing.TB

	errors []string
}

func (r *judged) Helper()        {}
func (r *judged) Cleanup(func()) {} // the test itself ends what it opens
func (r *judged) Error(arguments ...any) {
	r.errors = append(r.errors, fmt.Sprint(arguments...))
}
func (r *judged) Errorf(format string, arguments ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, arguments...))
}

// rigPages are pages of the console's policy, by path.
func rigPages(t *testing.T, pages map[string]string) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := pages[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		kind := "text/html; charset=utf-8"
		if strings.HasSuffix(r.URL.Path, ".js") {
			kind = "text/javascript"
		} else if strings.HasSuffix(r.URL.Path, ".css") {
			kind = "text/css"
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'")
		fmt.Fprint(w, text)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

const rigPage = `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>A page</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/page.css"><script type="module" src="/%s.js"></script></head>
<body><main><h1>A page</h1><p>With some text.</p><form><label>Name <input id="name" autocomplete="off"></label> <button>Send it</button></form>
<p><a href="#top">To the top</a></p><ul id="list"></ul></main></body></html>`

// What the rig is for: each fault of a page fails its test, and a page without any does
// not.
func TestBrowserRig(t *testing.T) {
	scripts := map[string]string{
		"good": `document.querySelector('form').addEventListener('submit', (e) => {
			e.preventDefault();
			const item = document.createElement('li');
			item.textContent = document.querySelector('#name').value;
			document.querySelector('#list').append(item);
		});`,
		"console error":     `console.error('oh', 1)`,
		"console warning":   `console.warn('hm')`,
		"exception":         `throw new Error('unseen')`,
		"rejection":         `Promise.reject(new Error('unheard'))`,
		"inline style":      `document.body.setAttribute('style', 'color: red')`,
		"untrusted HTML":    `try { document.body.innerHTML = '<b>' } catch {}`,
		"not found":         `fetch('/nowhere').catch(() => {})`,
		"another host":      `fetch('http://example.com/x').catch(() => {})`,
		"picture elsewhere": `new Image().src = 'http://example.com/x.png'`,
		"socket elsewhere":  `try { new WebSocket('ws://example.com/') } catch {}`,
		"refused socket":    `new WebSocket('ws://' + location.host + '/nowhere')`,
	}
	pages := map[string]string{"/page.css": "body { color: #111; background: #fff } @media (prefers-color-scheme: dark) { body { color: #eee; background: #111 } a { color: #9cf } }"}
	for name, script := range scripts {
		name = strings.ReplaceAll(name, " ", "-")
		pages["/"+name], pages["/"+name+".js"] = fmt.Sprintf(rigPage, name), script
	}
	pages["/poor"] = `<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,"><link rel="stylesheet" href="/poor.css"></head>
		<body><main><h1>A page</h1><p>Pale</p><p>More</p><ul><li>one</li></ul><input type="text"><a href="#a">a</a><div class="wide">w</div></main></body></html>`
	pages["/poor.css"] = "body { color: #111; background: #fff } p { color: #ccc } .wide { width: 3000px }"
	base := rigPages(t, pages)
	b := openBrowser(t)

	t.Run("a good page", func(t *testing.T) {
		p := b.page(t, base+"/good", view{})
		p.fill("#name", "first")
		p.click("button >> Send")
		p.waitText("#list", "first")
		p.fill("#name", "second")
		p.press("Enter")
		p.waitText("#list li", "second")
		if got, want := p.texts("#list li"), []string{"first", "second"}; !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
		if got, want := p.focusOrder(), []string{"textbox Name", "button Send it", "link To the top"}; !slices.Equal(got, want) {
			t.Errorf("got the stops %q, want %q", got, want)
		}
		p.eval(`document.querySelector('h1').remove()`, nil)
		p.waitGone("h1")
		p.eval(`document.querySelector('main').prepend(Object.assign(document.createElement('h1'), { textContent: 'Again' }))`, nil)
		p.accessible()
		p.unclipped()
		p.screenshot("good")
		p.done()
	})
	for name := range scripts {
		if name == "good" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			got := &judged{TB: t}
			p := b.page(got, base+"/"+strings.ReplaceAll(name, " ", "-"), view{})
			for deadline := time.Now().Add(browserPatience); !p.troubled() && time.Now().Before(deadline); {
				time.Sleep(10 * time.Millisecond)
			}
			p.done()
			if len(got.errors) == 0 {
				t.Error("the rig saw nothing wrong")
			}
			t.Log(strings.Join(got.errors, "\n"))
		})
	}
	t.Run("provoked", func(t *testing.T) {
		p := b.page(t, base+"/refused-socket", view{})
		p.expect(`WebSocket.* Unexpected response code: 404`)
	})
	t.Run("a poor page", func(t *testing.T) {
		p := b.page(t, base+"/poor", view{})
		got := &judged{TB: t}
		p.t = got
		p.accessible()
		p.unclipped()
		p.t = t
		said := strings.Join(got.errors, "\n")
		for _, want := range []string{"color-contrast", "label", "3008 wide", "dark theme"} {
			if !strings.Contains(said, want) {
				t.Errorf("got no word of %s in:\n%s", want, said)
			}
		}
	})
}

func (p *page) troubled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.troubles) > 0
}
