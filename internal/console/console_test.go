package console

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var whole = Config{Mode: "dev", Version: "v1", Region: "us-east-1", Account: "000000000000", Regions: []string{"us-east-1", "eu-west-1"}}

func ask(h http.Handler, method, target string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPaths(t *testing.T) {
	h := New(whole)
	for _, test := range []struct {
		name, method, path string
		status             int
		contentType        string
	}{
		{"the console", "GET", "/console/", 200, "text/html; charset=utf-8"},
		{"the console, head", "HEAD", "/console/", 200, "text/html; charset=utf-8"},
		{"with a query", "GET", "/console/?a=b", 200, "text/html; charset=utf-8"},
		{"the demo", "GET", "/console/demo", 200, "text/html; charset=utf-8"},
		{"the settings", "GET", "/console/config.json", 200, "application/json"},
		{"no slash", "GET", "/console", 308, ""},
		{"a page has one name", "GET", "/console/index.html", 404, "text/plain; charset=utf-8"},
		{"what is not there", "GET", "/console/none.js", 404, "text/plain; charset=utf-8"},
		{"no directory", "GET", "/console/assets/", 404, "text/plain; charset=utf-8"},
		{"nothing above", "GET", "/console/../console/", 404, "text/plain; charset=utf-8"},
		{"nothing escaped", "GET", "/console/dem%6f", 404, "text/plain; charset=utf-8"},
		{"not the console's", "GET", "/", 404, "text/plain; charset=utf-8"},
		{"not the console's either", "GET", "/consoles", 404, "text/plain; charset=utf-8"},
		{"nothing is taken", "POST", "/console/", 405, "text/plain; charset=utf-8"},
		{"nothing is removed", "DELETE", "/console/demo", 405, "text/plain; charset=utf-8"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := ask(h, test.method, test.path)
			if w.Code != test.status || w.Header().Get("Content-Type") != test.contentType {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Header().Get("Content-Type"), test.status, test.contentType)
			}
			if test.method == "HEAD" && w.Body.Len() > 0 {
				t.Errorf("got a body of %d bytes", w.Body.Len())
			}
			for name, want := range map[string]string{
				"Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
					"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'",
				"X-Content-Type-Options":     "nosniff",
				"Referrer-Policy":            "no-referrer",
				"Cross-Origin-Opener-Policy": "same-origin",
			} {
				if got := w.Header().Get(name); got != want {
					t.Errorf("%s: got %q, want %q", name, got, want)
				}
			}
			if got := w.Header().Get("Cache-Control"); test.status < 400 && got != "no-cache" {
				t.Errorf("Cache-Control: got %q", got)
			}
		})
	}
	if got := ask(h, "GET", "/console").Header().Get("Location"); got != "/console/" {
		t.Errorf("Location: got %q", got)
	}
}

// What a browser has already is not sent again.
func TestNotModified(t *testing.T) {
	h := New(whole)
	for _, target := range []string{"/console/", "/console/demo", "/console/config.json"} {
		etag := ask(h, "GET", target).Header().Get("ETag")
		if !regexp.MustCompile(`^"[0-9a-f]{24}"$`).MatchString(etag) {
			t.Errorf("%s: got ETag %q", target, etag)
		}
		w := ask(h, "GET", target, "If-None-Match", etag)
		if w.Code != http.StatusNotModified || w.Body.Len() > 0 || w.Header().Get("ETag") != etag {
			t.Errorf("%s: got %d and %d bytes, ETag %q, want 304", target, w.Code, w.Body.Len(), w.Header().Get("ETag"))
		}
		if w := ask(h, "GET", target, "If-None-Match", `"another"`); w.Code != http.StatusOK || w.Body.Len() == 0 {
			t.Errorf("%s: got %d and %d bytes, want all of it", target, w.Code, w.Body.Len())
		}
	}
	other := whole
	other.Version = "v2"
	const target = "/console/config.json"
	if a, b := ask(h, "GET", target).Header().Get("ETag"), ask(New(other), "GET", target).Header().Get("ETag"); a == b {
		t.Errorf("other settings have the same ETag %s", a)
	}
}

func TestSettings(t *testing.T) {
	for _, test := range []struct {
		name   string
		config Config
		want   string
	}{
		{"all", whole, `{"mode":"dev","version":"v1","region":"us-east-1","account":"000000000000","regions":["us-east-1","eu-west-1"],"anyKey":false}`},
		{"any region and key", Config{Mode: "dev", AnyKey: true}, `{"mode":"dev","version":"","region":"","account":"","regions":[],"anyKey":true}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, ask(New(test.config), "GET", "/console/config.json").Body.String()); diff != "" {
				t.Errorf("settings (-want +got):\n%s", diff)
			}
		})
	}
	if !json.Valid(ask(New(Config{Version: "\"<\u2028"}), "GET", "/console/config.json").Body.Bytes()) {
		t.Error("not JSON")
	}
}

// TestAssets holds what is embedded to what the policy lets a browser do with it: an
// ending that has no type is no script and no style, and what is written into a page does
// not run.
func TestAssets(t *testing.T) {
	inline := regexp.MustCompile(`(?i)<style|<script(?:\s+type="?module"?)?\s*>|\sstyle\s*=|\son[a-z]+\s*=\s*["']`)
	external := regexp.MustCompile(`(?i)\s(?:src|href|action)\s*=\s*["']?(?:[a-z]+:)?//`)
	pages := 0
	for name, f := range New(whole).(handler) {
		if f.contentType == "application/octet-stream" {
			t.Errorf("%s: the content type of %s is not known", name, path.Ext(name))
		}
		if !strings.HasPrefix(f.contentType, "text/html") {
			continue
		}
		pages++
		for what, form := range map[string]*regexp.Regexp{"runs inline": inline, "is from elsewhere": external} {
			for _, at := range form.FindAll(f.body, -1) {
				if what == "is from elsewhere" && strings.Contains(string(at), "href") {
					continue // a link is followed by who wants to
				}
				t.Errorf("page %q: %q %s, which the policy forbids", name, at, what)
			}
		}
	}
	if pages < 2 {
		t.Errorf("got %d pages, want the console and the demo", pages)
	}
}
