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
	at := net.JoinHostPort(host, strconv.Itoa(addr.Port))
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
	p("  API        http://%s", at)
	p("  Messaging  ws://%s", at)
	p("  Health     http://%s/healthz, http://%s/readyz", at, at)
	p("  Metrics    http://%s/metrics", at)
	p("  Data       %s", data)
	p("")
	p("  export AWS_ENDPOINT_URL_IVSCHAT=http://%s", at)
	// Version 1 of the AWS CLI reads AWS_DEFAULT_REGION alone.
	p("  export AWS_ACCESS_KEY_ID=%s AWS_SECRET_ACCESS_KEY=parlor AWS_REGION=us-east-1 AWS_DEFAULT_REGION=us-east-1", c.Account)
	p("")
	p("The AWS CLI knows AWS_ENDPOINT_URL_IVSCHAT from 2.13 on. An older one ignores it and talks to AWS:")
	p("give that one --endpoint-url http://%s with every command.", at)
	switch {
	case c.Mode == config.Serve:
		p("Credentials are not verified yet, so parlor serve listens on loopback only, whatever its flags.")
	case c.Open && !addr.IP.IsLoopback():
		p("OPEN: whoever reaches port %d of this machine may do everything; any credentials are accepted.", addr.Port)
	default:
		p("Any credentials are accepted; an access key of 12 digits is its own account id.")
	}
	p("")
	return b.String()
}
