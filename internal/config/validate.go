package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"slices"
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

	minChatlogInterval = 100 * time.Millisecond
	maxChatlogInterval = time.Hour
	minSpoolLimit      = 32 // megabytes: some segments

	maxNamespace = 255 // of CloudWatch
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
	case c.Mode == Serve && !c.TLS() && !c.InsecureHTTP:
		fault("listen", "%s can be reached from other machines, over HTTP that anybody on the way can read: give --tls-cert and --tls-key, or --acme-hosts; say --insecure-http if a proxy in front speaks TLS; or listen on 127.0.0.1:%s", c.Listen, port)
	case c.Mode == Dev && !c.Open && c.Credentials == "":
		fault("listen", "%s can be reached from other machines, where anybody could do everything: say --open if that is meant, or listen on 127.0.0.1:%s", c.Listen, port)
	case c.Mode == Dev && !c.Open:
		fault("listen", "%s can be reached from other machines: say --open if that is meant, or listen on 127.0.0.1:%s", c.Listen, port)
	}
	c.validateAccess(fault)
	c.validateTLS(fault)
	if c.Mode == Serve && c.Data == "" {
		fault("data", "is empty; name a directory")
	}
	if !chat.ValidAccount(c.Account) {
		fault("account", "%q is not an account id of 12 digits", c.Account)
	}
	for _, region := range c.Regions {
		if !chat.ValidRegion(region) {
			fault("regions", "%q is not a region such as us-east-1", region)
		}
	}
	if c.Seed != "" {
		if err := readable(c.Seed); err != nil {
			fault("seed", "%v", err)
		}
	}
	c.validateNodes(fault)
	within("token-lifetime", c.TokenLifetime, minTokenLifetime, chat.MaxSessionDuration)
	within("ping-interval", c.PingInterval, minPingInterval, maxPingInterval)
	within("drain-window", c.DrainWindow, 0, maxDrainWindow)
	c.validateLimits(fault)
	c.validateReview(fault)
	oneOf("destinations", c.Destinations, "aws", "local")
	within("chatlog-interval", c.ChatlogInterval, minChatlogInterval, maxChatlogInterval)
	within("chatlog-s3-interval", c.ChatlogS3Interval, minChatlogInterval, maxChatlogInterval)
	if c.ChatlogSpoolLimit < minSpoolLimit {
		fault("chatlog-spool-limit", "%d is less than %d megabytes", c.ChatlogSpoolLimit, minSpoolLimit)
	}
	c.validateObservability(fault)
	oneOf("log-level", c.LogLevel, "debug", "info", "warn", "error")
	oneOf("log-format", c.LogFormat, "auto", "text", "json")
	if len(faults) > 0 {
		return faults
	}
	return nil
}

// validateNodes checks what nodes share. Faults do not quote it: there may be passwords.
func (c *Config) validateNodes(fault func(setting, format string, args ...any)) {
	check := func(setting, text, example string, schemes ...string) {
		if text == "" {
			return
		}
		u, err := url.Parse(text)
		if err != nil || !slices.Contains(schemes, u.Scheme) || u.Host == "" && u.Path == "" {
			fault(setting, "is not a URL such as %s", example)
		}
	}
	check("database-url", c.DatabaseURL, "postgres://parlor@db.example.com:5432/parlor", "postgres", "postgresql")
	check("redis-url", c.RedisURL, "redis://redis.example.com:6379", "redis", "rediss", "unix")
	if c.RedisURL != "" && c.DatabaseURL == "" {
		fault("redis-url", "nodes that share a Redis share a database: give --database-url")
	}
}

// validateReview checks the webhooks.
func (c *Config) validateReview(fault func(setting, format string, args ...any)) {
	seen := map[string]bool{}
	for _, text := range c.ReviewWebhooks {
		arn, to, found := strings.Cut(text, "=")
		u, err := url.Parse(to)
		switch {
		case !found || !strings.HasPrefix(arn, "arn:aws:lambda:"):
			fault("review-webhook", "%q is not ARN=URL, such as arn:aws:lambda:us-east-1:123456789012:function:review=https://review.example.com/", text)
		case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
			fault("review-webhook", "%q is not the URL of an HTTP endpoint", to)
		case u.User != nil:
			fault("review-webhook", "%s has a user or password in it; requests are signed instead", u.Redacted())
		case seen[arn]:
			fault("review-webhook", "%s is given twice", arn)
		}
		seen[arn] = true
	}
	for i, text := range c.EventWebhooks {
		u, err := url.Parse(text)
		switch {
		case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https":
			fault("webhook", "%s is not the URL of an HTTP endpoint", withoutQuery(text))
		case u.User != nil:
			fault("webhook", "%s has a user or password in it; requests are signed instead", withoutQuery(text))
		case slices.Contains(c.EventWebhooks[:i], text):
			fault("webhook", "%s is given twice", withoutQuery(text))
		}
	}
	for _, group := range c.WebhookEvents {
		if !slices.Contains(chat.NoticeGroups, group) {
			fault("webhook-events", "%q is none of %s", group, strings.Join(chat.NoticeGroups, ", "))
		}
	}
	if c.WebhookSecret != "" {
		if err := readable(c.WebhookSecret); err != nil {
			fault("webhook-secret", "%v", err)
		}
	}
}

// validateObservability checks where what the process says of itself goes.
func (c *Config) validateObservability(fault func(setting, format string, args ...any)) {
	if n := c.CloudWatchMetrics; len(n) > maxNamespace || strings.HasPrefix(n, ":") || strings.ContainsFunc(n, func(r rune) bool { return r < ' ' || r > '~' }) || strings.TrimSpace(n) != n {
		fault("cloudwatch-metrics", "%.300q is not a namespace such as IVSChat", n)
	}
	if c.DebugListen != "" {
		host, port, err := net.SplitHostPort(c.DebugListen)
		if number, portErr := strconv.Atoi(port); err != nil || portErr != nil || number < 0 || number > 65535 {
			fault("debug-listen", "%q is not HOST:PORT, such as 127.0.0.1:6060", c.DebugListen)
		} else if !LoopbackName(host) {
			fault("debug-listen", "%s can be reached from other machines, which profiles are not for: say 127.0.0.1:%s", c.DebugListen, port)
		}
	}
}

// validateAccess checks who is let in.
func (c *Config) validateAccess(fault func(setting, format string, args ...any)) {
	if c.Credentials == "" {
		if c.Mode == Serve {
			fault("credentials", "parlor serve lets nobody in without access keys: run parlor key create --credentials FILE, which makes a file with one, and give that FILE by --credentials")
		}
		return
	}
	err := readable(c.Credentials)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		fault("credentials", "%s does not exist: parlor key create --credentials %s makes it, with an access key", c.Credentials, c.Credentials)
	case err != nil:
		fault("credentials", "%v", err)
	}
}

func (c *Config) validateTLS(fault func(setting, format string, args ...any)) {
	switch {
	case c.TLSCert != "" && c.TLSKey == "":
		fault("tls-key", "is missing: --tls-cert needs the private key of the certificate")
	case c.TLSCert == "" && c.TLSKey != "":
		fault("tls-cert", "is missing: --tls-key needs the certificate of the private key")
	}
	for _, f := range []struct{ setting, path string }{{"tls-cert", c.TLSCert}, {"tls-key", c.TLSKey}} {
		if f.path == "" {
			continue
		}
		if err := readable(f.path); err != nil {
			fault(f.setting, "%v", err)
		}
	}
	if c.InsecureHTTP && c.TLS() {
		fault("insecure-http", "asks for plain HTTP, other settings ask for TLS: leave one of them away")
	}
	if len(c.ACMEHosts) > 0 {
		if c.TLSCert != "" || c.TLSKey != "" {
			fault("acme-hosts", "certificates come either by ACME or from --tls-cert and --tls-key: leave one of them away")
		}
		if c.Data == "" && c.Mode == Dev {
			fault("acme-hosts", "needs --data, where certificates are kept: authorities give few for one name")
		}
	}
	for _, host := range c.ACMEHosts {
		if !publicName(host) {
			fault("acme-hosts", "%q is not a host name such as chat.example.com", host)
		}
	}
	if c.ACMEEmail != "" {
		if len(c.ACMEHosts) == 0 {
			fault("acme-email", "says nothing without --acme-hosts")
		}
		if a, err := mail.ParseAddress(c.ACMEEmail); err != nil || a.Address != c.ACMEEmail {
			fault("acme-email", "%q is not an address such as ops@example.com", c.ACMEEmail)
		}
	}
	u, err := url.Parse(c.ACMEDir)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" {
		fault("acme-directory", "%q is not an https URL", c.ACMEDir)
	}
}

func (c *Config) validateLimits(fault func(setting, format string, args ...any)) {
	switch c.Quotas {
	case "none", "aws":
	case "":
		fault("quotas", "is empty; it is none, aws or a file")
	default:
		if err := readable(c.Quotas); err != nil {
			fault("quotas", "it is none, aws or a file: %v", err)
		}
	}
	for _, origin := range c.AllowedOrigins {
		if err := checkOrigin(origin); err != nil {
			fault("allowed-origins", "%q %v", origin, err)
		}
	}
	for _, proxy := range c.TrustedProxies {
		prefix, err := netip.ParsePrefix(proxy)
		switch {
		case err == nil && prefix.Addr().Is4In6():
			fault("trusted-proxies", "%q is an IPv4 network in IPv6 clothes: write it as IPv4, such as 10.0.0.0/8", proxy)
		case err == nil && prefix != prefix.Masked():
			fault("trusted-proxies", "%q has bits beyond its length: the network is %s, the one address %s/%d", proxy, prefix.Masked(), prefix.Addr(), prefix.Addr().BitLen())
		case err != nil:
			fault("trusted-proxies", "%q is not a network such as 10.0.0.0/8; one address is written 10.1.2.3/32", proxy)
		}
	}
	for _, f := range []struct {
		setting string
		n       int
	}{{"connections-per-address", c.ConnectionsPerAddress}, {"handshakes-per-address", c.HandshakesPerAddress}} {
		if f.n < 0 {
			fault(f.setting, "%d is less than 0, which is no limit", f.n)
		}
	}
}

// checkOrigin says what keeps an origin from ever being what a browser sends.
func checkOrigin(origin string) error {
	if origin == "null" { // what browsers say of a page that has none
		return nil
	}
	u, err := url.Parse(origin)
	switch {
	case origin == "*":
		return errors.New("is not an origin; any is allowed when none is named")
	case err != nil || u.Scheme == "" || u.Host == "" || strings.Contains(u.Host, "*"):
		return errors.New("is not an origin such as https://live.example.com; name each one")
	case u.Scheme+"://"+u.Host != origin:
		return fmt.Errorf("is more than an origin: that would be %s://%s", u.Scheme, u.Host)
	case strings.ToLower(origin) != origin:
		return errors.New("has upper-case letters, which browsers do not send")
	case u.Scheme == "https" && u.Port() == "443", u.Scheme == "http" && u.Port() == "80":
		return fmt.Errorf("names the port that browsers leave away: say %s://%s", u.Scheme, u.Hostname())
	}
	return nil
}

// publicName reports whether a host has the form of a name that an authority may give
// a certificate for: labels of the DNS, at least two, and not an address.
func publicName(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil || len(host) > 253 || !strings.Contains(host, ".") {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if label == "" || len(label) > 63 || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") ||
			strings.Trim(strings.ToLower(label), "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// readable says why a file cannot be read, and names it.
func readable(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err == nil && info.IsDir() {
		return fmt.Errorf("%s is a directory", path)
	}
	return err
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
