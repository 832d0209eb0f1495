package server

import (
	"fmt"
	"html"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"slices"
	"strconv"
	"strings"
	"time"

	"parlor/internal/config"
)

// Profiles are on a listener of their own, which stands on loopback. On the one that
// others reach, a loopback peer may be a proxy with anybody behind it. The handlers of
// net/http/pprof are not used: they tell the command line, where passwords may be, and
// weigh more.

const (
	defaultProfile = 30 * time.Second
	maxProfile     = 5 * time.Minute
	profilesPath   = "/debug/pprof/"
)

// newDebug opens the listener for profiles; nil when there is to be none.
func newDebug(c config.Config) (net.Listener, error) {
	if c.DebugListen == "" {
		return nil, nil
	}
	listener, err := net.Listen("tcp", c.DebugListen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for profiles: %w", c.DebugListen, err)
	}
	if ip := listener.Addr().(*net.TCPAddr).IP; !ip.IsLoopback() {
		listener.Close()
		return nil, fmt.Errorf("listen on %s for profiles: the name stands for %s, which is not a loopback address", c.DebugListen, ip)
	}
	return listener, nil
}

// serveProfiles serves the profiles of the process under /debug/pprof/, as go tool pprof
// and go tool trace ask for them.
func serveProfiles(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// A page of any origin may send requests here, and by a name of its own read the answers.
	site := r.Header.Get("Sec-Fetch-Site")
	if host := hostOf(r.Host); !config.LoopbackName(host) || site != "" && site != "none" && site != "same-origin" {
		http.Error(w, "Profiles are for this machine only.", http.StatusForbidden)
		return
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "Ask with GET.", http.StatusMethodNotAllowed)
		return
	}
	name, found := strings.CutPrefix(r.URL.Path, profilesPath)
	switch {
	case !found:
		http.NotFound(w, r)
	case name == "":
		listProfiles(w)
	case name == "profile":
		record(w, r, pprof.StartCPUProfile, pprof.StopCPUProfile)
	case name == "trace":
		record(w, r, trace.Start, trace.Stop)
	default:
		profile := pprof.Lookup(name)
		if profile == nil {
			http.NotFound(w, r)
			return
		}
		if name == "heap" && r.FormValue("gc") == "1" {
			runtime.GC()
		}
		form, err := strconv.Atoi(r.FormValue("debug"))
		if err != nil {
			form = 0 // the form that tools read
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		if form > 0 {
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		}
		profile.WriteTo(w, form) // who went away is told nothing
	}
}

// listProfiles shows a person what there is.
func listProfiles(w http.ResponseWriter) {
	names := []string{"profile", "trace"}
	for _, p := range pprof.Profiles() {
		names = append(names, p.Name())
	}
	slices.Sort(names)
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	fmt.Fprint(w, "<!doctype html><title>Profiles</title>\n")
	for _, name := range names {
		fmt.Fprintf(w, "<p><a href=\"%[1]s\">%[1]s</a>\n", html.EscapeString(name))
	}
}

// record has the runtime write what it sees for the seconds that are asked for.
func record(w http.ResponseWriter, r *http.Request, start func(io.Writer) error, stop func()) {
	length := defaultProfile
	if text := r.FormValue("seconds"); text != "" {
		seconds, err := strconv.ParseFloat(text, 64)
		if err != nil || !(seconds > 0 && seconds <= maxProfile.Seconds()) {
			http.Error(w, fmt.Sprintf("seconds is not a number up to %v.", maxProfile.Seconds()), http.StatusBadRequest)
			return
		}
		length = time.Duration(seconds * float64(time.Second))
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	if err := start(w); err != nil {
		http.Error(w, "Another one is being made.", http.StatusConflict)
		return
	}
	defer stop()
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-r.Context().Done():
	}
}
