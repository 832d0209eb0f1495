// Package console serves the web console: pages that work with the server as any client
// of its API does. They are embedded; there is no build step and nothing of others'.
//
// Invariants:
//
//   - Nothing that is served is secret, and nothing depends on who asks: the pages sign
//     their own requests, with keys that are typed in.
//   - A page runs only what is served here, speaks only with where it comes from, and is
//     shown in no other page.
//   - A browser asks each time whether what it has is still what there is.
//
// The package reads nothing but what is embedded, and measures nothing.
package console

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

//go:embed assets
var assets embed.FS

// Root is the path that everything is under, without the slash that follows it.
const Root = "/console"

// Config is what the pages are told of the server.
type Config struct {
	Mode    string // "dev" or "serve"
	Version string
	Region  string   // which a page takes to begin with
	Account string   // of a key that is no account id, where any key is accepted
	Regions []string // those that are served; none is any
	AnyKey  bool     // any access key is accepted: nobody need sign in
}

// settings is /console/config.json.
type settings struct {
	Mode    string   `json:"mode"`
	Version string   `json:"version"`
	Region  string   `json:"region"`
	Account string   `json:"account"`
	Regions []string `json:"regions"`
	AnyKey  bool     `json:"anyKey"`
}

// The policy says "only from here" of everything a page may load, send or be within, and
// that a script makes no markup of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// types are the content types of what there is, by the ending of its name. The system's
// own table is not asked: it differs from one to the next.
var types = map[string]string{
	".css":         "text/css; charset=utf-8",
	".html":        "text/html; charset=utf-8",
	".ico":         "image/x-icon",
	".js":          "text/javascript; charset=utf-8",
	".json":        "application/json",
	".png":         "image/png",
	".svg":         "image/svg+xml",
	".txt":         "text/plain; charset=utf-8",
	".webmanifest": "application/manifest+json",
}

// file is something that is served.
type file struct {
	body        []byte
	contentType string
	etag        string
}

func newFile(name string, body []byte) file {
	sum := sha256.Sum256(body)
	f := file{body: body, contentType: types[path.Ext(name)], etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
	if f.contentType == "" {
		f.contentType = "application/octet-stream"
	}
	return f
}

// handler is the files by what follows "/console/" in their path.
type handler map[string]file

// New returns what answers to the paths from [Root] on: index.html is at /console/, any
// other page at its name without .html, the rest at its name, and config.json is what the
// pages are told. It holds no more than the files, and is safe for concurrent use.
func New(c Config) http.Handler {
	h := handler{}
	err := fs.WalkDir(assets, "assets", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		body, err := assets.ReadFile(name)
		if err != nil {
			return err
		}
		h[address(strings.TrimPrefix(name, "assets/"))] = newFile(name, body)
		return nil
	})
	if err != nil {
		panic("console: read what is embedded: " + err.Error()) // it is in the program
	}
	if c.Regions == nil {
		c.Regions = []string{}
	}
	told, err := json.Marshal(settings(c))
	if err != nil {
		panic("console: encode the settings: " + err.Error()) // strings always can be
	}
	h["config.json"] = newFile("config.json", told)
	return h
}

// address is what a file is served as.
func address(name string) string {
	if name == "index.html" {
		return ""
	}
	return strings.TrimSuffix(name, ".html")
}

func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Content-Security-Policy", policy)
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cache-Control", "no-cache")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "The console is read only.", http.StatusMethodNotAllowed)
		return
	}
	if r.URL.EscapedPath() == Root {
		header.Set("Location", Root+"/")
		w.WriteHeader(http.StatusPermanentRedirect)
		return
	}
	name, under := strings.CutPrefix(r.URL.EscapedPath(), Root+"/")
	f, found := h[name]
	if !under || !found {

		http.Error(w, "The console has no such page.", http.StatusNotFound)
		return
	}
	header.Set("Content-Type", f.contentType)
	header.Set("ETag", f.etag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
}
