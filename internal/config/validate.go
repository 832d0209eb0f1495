package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"parlor/internal/chat"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Where   string // the setting, or the place in the file
	Message string
}

// Faults is everything that is wrong with a configuration. As an error it has one
// line for each.
type Faults []Fault

func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.Message
		if fault.Where != "" {
			lines[i] = fault.Where + ": " + fault.Message
		}
	}
	return strings.Join(lines, "\n")
}

// Bounds of settings.
const (
	minTokenLifetime = time.Second
	minPingInterval  = time.Second
	maxPingInterval  = 10 * time.Minute
	maxDrainWindow   = time.Hour
)

// Validate returns nil, or [Faults] naming everything that is wrong.
func (c *Config) Validate() error {
	var faults Faults
	fault := func(setting, format string, args ...any) {
		faults = append(faults, Fault{Where: setting, Message: fmt.Sprintf(format, args...)})
	}
	within := func(setting string, d, least, most time.Duration) {
		if d < least || d > most {
			fault(setting, "%s is not between %s and %s", short(d), short(least), short(most))
		}
	}
	oneOf := func(setting, value string, values ...string) {
		for _, v := range values {
			if value == v {
				return
			}
		}
		fault(setting, "%q is not one of %s", value, strings.Join(values, ", "))
	}

	host, port, err := net.SplitHostPort(c.Listen)
	number, portErr := strconv.Atoi(port)
	switch {
	case err != nil:
		fault("listen", "%q is not HOST:PORT, such as 127.0.0.1:4870", c.Listen)
	case portErr != nil || number < 0 || number > 65535:
		fault("listen", "%q is not a port number", port)
	case LoopbackName(host):
	case c.Mode == Serve:
		// Credentials are not verified, so whoever reaches the port may do everything.
		fault("listen", "%s can be reached from other machines, and parlor serve does not verify credentials yet: it listens on loopback only, such as 127.0.0.1:%s", c.Listen, port)
	case !c.Open:
		fault("listen", "%s can be reached from other machines, where anybody could do everything: say --open if that is meant, or listen on 127.0.0.1:%s", c.Listen, port)
	}
	if c.Mode == Serve && c.Data == "" {
		fault("data", "is empty; name a directory")
	}
	if len(c.Account) != 12 || strings.Trim(c.Account, "0123456789") != "" {
		fault("account", "%q is not an account id of 12 digits", c.Account)
	}
	within("token-lifetime", c.TokenLifetime, minTokenLifetime, chat.MaxSessionDuration)
	within("ping-interval", c.PingInterval, minPingInterval, maxPingInterval)
	within("drain-window", c.DrainWindow, 0, maxDrainWindow)
	oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error")
	oneOf("log-format", c.LogFormat, "auto", "text", "json")
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// LoopbackName reports whether a host, without a port, is by its name this machine
// alone: localhost, a name under .localhost (RFC 6761), or a loopback address.
func LoopbackName(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

// short is a duration without its zero units: 1h, not 1h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
