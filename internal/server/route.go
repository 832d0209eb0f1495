package server

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"parlor/internal/config"
	"parlor/internal/console"
)

const readyTimeout = 2 * time.Second

// route sends each request where it belongs. It is not an http.ServeMux, which would
// redirect and clean paths: /tags/{arn} is signed and read as it was sent.
// Without pages there is no console.
func (s *Server) route(api, pages http.Handler) http.Handler {
	metrics := promhttp.HandlerFor(s.metrics, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(s.logger.Handler(), slog.LevelError),
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler := api
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			switch path := r.URL.EscapedPath(); path { // as it was sent: a proxy that hides /metrics knows no other
			case "/":
				handler = s.gateway // which says 426 to what is not a handshake
			case "/healthz":
				handler = http.HandlerFunc(s.serveHealth)
			case "/readyz":
				handler = http.HandlerFunc(s.serveReady)
			case "/metrics":
				handler = metrics
			default:
				if pages != nil && (path == console.Root || strings.HasPrefix(path, console.Root+"/")) {
					handler = pages
				}
			}
		}
		handler.ServeHTTP(w, r)
	})
}

// serveHealth says that the process answers; it looks at nothing else, so that a
// supervisor does not restart a server for the fault of another.
func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, health{Status: "ok"})
}

// serveReady says whether the server should be given traffic, and if not, what is in
// the way: "draining", "store" or "broker". The cause itself is for the log.
func (s *Server) serveReady(w http.ResponseWriter, r *http.Request) {
	if s.draining.Load() {
		writeJSON(w, http.StatusServiceUnavailable, health{Status: "not ready", NotReady: []string{"draining"}})
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), readyTimeout)
	defer cancel()
	if err := s.service.Ready(ctx); err != nil {
		s.logger.Warn("not ready", "error", err)
		part, _, _ := strings.Cut(err.Error(), ":")
		writeJSON(w, http.StatusServiceUnavailable, health{Status: "not ready", NotReady: []string{part}})
		return
	}
	writeJSON(w, http.StatusOK, health{Status: "ok"})
}

type health struct {
	Status   string   `json:"status"`
	NotReady []string `json:"notReady,omitempty"`
}

// onlyThisMachine refuses requests for a host that is neither this machine by a
// loopback name nor AWS, and requests of web pages that this machine does not serve.
// Any page can send requests to 127.0.0.1, by its address or by pointing a name of
// its own there; its requests carry that name, and the page's origin.
func onlyThisMachine(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fault := ""
		if !knownHost(r.Host) {
			fault = "This server answers only to localhost, *.localhost, loopback addresses, *.amazonaws.com and *.api.aws, not to the host name of this request."
		} else if origin := r.Header.Get("Origin"); origin != "" && !localOrigin(origin) {
			fault = "This server answers only to web pages of this machine, not to those of the origin of this request."
		}
		if fault != "" {
			w.Header().Set("X-Amzn-ErrorType", "AccessDeniedException")
			writeJSON(w, http.StatusForbidden, refusal{Type: "AccessDeniedException", Message: fault + " parlor dev --open lifts that."})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// localOrigin reports whether a page of the origin comes from this machine. A page
// without an origin of its own ("null") may come from anywhere.
func localOrigin(origin string) bool {
	u, err := url.Parse(origin)
	return err == nil && config.LoopbackName(u.Hostname())
}

type refusal struct {
	Type    string `json:"__type"`
	Message string `json:"message"`
}

// knownHost judges a Host header.
func knownHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else {
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if config.LoopbackName(host) {
		return true
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return strings.HasSuffix(host, ".amazonaws.com") || strings.HasSuffix(host, ".api.aws")
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("server: encode an answer: " + err.Error()) // strings always can be
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	w.Write(append(text, '\n'))
}
