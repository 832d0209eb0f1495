package main

import (
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"strings"

	"parlor/internal/config"
	"parlor/internal/server"
)

// banner is what a person needs to use the server that listens at addr.
func banner(c *config.Config, addr *net.TCPAddr, temporary bool) string {
	host := addr.IP.String()
	if addr.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	scheme := ""
	if c.TLS() {
		// A certificate is for names.
		scheme = "s"
		if name, _, err := net.SplitHostPort(c.Listen); err == nil && name != "" && net.ParseIP(name) == nil {
			host = name
		}
		if len(c.ACMEHosts) > 0 {
			host = c.ACMEHosts[0]
		}
	}
	at := net.JoinHostPort(host, strconv.Itoa(addr.Port))
	api, messaging := "http"+scheme+"://"+at, "ws"+scheme+"://"+at
	region := "us-east-1"
	if len(c.Regions) > 0 {
		region = c.Regions[0]
	}
	exports := "AWS_REGION=" + region + " AWS_DEFAULT_REGION=" + region
	if c.Credentials == "" {
		exports = "AWS_ACCESS_KEY_ID=" + c.Account + " AWS_SECRET_ACCESS_KEY=parlor " + exports
	}
	data := c.Data
	if abs, err := filepath.Abs(data); err == nil {
		data = abs
	}
	if temporary {
		data += " (temporary, removed at exit)"
	}
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("Parlor %s (%s) is ready.", server.Build().Version, c.Mode)
	p("")
	p("  API        %s", api)
	p("  Messaging  %s", messaging)
	p("  Health     %s/healthz, %s/readyz", api, api)
	p("  Metrics    %s/metrics", api)
	if c.Console {
		p("  Console    %s/console/", api)
	}
	p("  Data       %s", data)
	if c.DatabaseURL != "" {
		p("  Database   %s", config.WithoutPassword(c.DatabaseURL))
	}
	if c.RedisURL != "" {
		p("  Redis      %s", config.WithoutPassword(c.RedisURL))
	}
	if c.Credentials != "" {
		p("  Keys       %s", c.Credentials)
	}
	p("")
	p("  export AWS_ENDPOINT_URL_IVSCHAT=%s", api)
	// Version 1 of the AWS CLI reads AWS_DEFAULT_REGION alone.
	p("  export %s", exports)
	p("")
	p("The AWS CLI knows AWS_ENDPOINT_URL_IVSCHAT from 2.13 on. An older one ignores it and talks to AWS:")
	p("give that one --endpoint-url %s with every command.", api)
	switch {
	case c.Credentials != "":
		p("Signatures are verified: the access keys are those of %s. For another, with its exports:", c.Credentials)
		p("parlor key create --credentials %s", c.Credentials)
		if !c.TLS() && !addr.IP.IsLoopback() {
			p("PLAIN HTTP: tokens and messages can be read on the way to port %d, unless a proxy in front speaks TLS.", addr.Port)
		}
	case c.Open && !addr.IP.IsLoopback():
		p("OPEN: whoever reaches port %d of this machine may do everything; any credentials are accepted.", addr.Port)
	default:
		p("Any credentials are accepted; an access key of 12 digits is its own account id.")
	}
	p("")
	return b.String()
}
