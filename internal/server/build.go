package server

import (
	"crypto/sha256"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// These are set by the linker (see Makefile), of the commit and never of the time or place
// of the build: so the same sources give the same bytes. Without them the module's version
// and what Go noted of the working tree say which build this is.
var (
	version   string // as git describe has it
	revision  string // the commit
	committed string // its time, RFC 3339
)

// BuildInfo says which build of Parlor this is.
type BuildInfo struct {
	Version   string `json:"version"`
	Revision  string `json:"revision,omitempty"`
	Committed string `json:"committed,omitempty"`
	Go        string `json:"go"`
	Platform  string `json:"platform"`
	// Modules is a digest of the modules that are linked in: the SHA-256 of a line for each,
	// in the order of go version -m, of its path, a space, its version, a space and its
	// checksum. Builds with the same are of the same borrowed code.
	Modules string `json:"modules,omitempty"`
}

// Build is the build that is running.
func Build() BuildInfo {
	b := BuildInfo{Version: version, Revision: revision, Committed: committed, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if ok {
		if b.Version == "" && info.Main.Version != "(devel)" {
			b.Version = info.Main.Version
		}
		if b.Revision == "" {
			b.Revision, b.Committed = noted(info.Settings)
		}
		b.Modules = modules(info.Deps)
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	return b
}

// noted is the commit that Go noted, and its time.
func noted(settings []debug.BuildSetting) (revision, committed string) {
	modified := false
	for _, s := range settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.time":
			committed = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if modified && revision != "" {
		revision += "+changes"
	}
	return revision, committed
}

// modules is BuildInfo.Modules.
func modules(linked []*debug.Module) string {
	if len(linked) == 0 {
		return ""
	}
	digest := sha256.New()
	for _, m := range linked {
		if m.Replace != nil {
			m = m.Replace
		}
		fmt.Fprintf(digest, "%s %s %s\n", m.Path, m.Version, m.Sum)
	}
	return fmt.Sprintf("sha256:%x", digest.Sum(nil))
}

// registerProcess adds what is measured of every process.
func registerProcess(r prometheus.Registerer) {
	b := Build()
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Name:        "parlor_build_info",
		Help:        "The build that is running: its version, its revision and its Go as labels; the value is always 1.",
		ConstLabels: prometheus.Labels{"version": b.Version, "revision": b.Revision, "goversion": b.Go},
	})
	info.Set(1)
	r.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}
