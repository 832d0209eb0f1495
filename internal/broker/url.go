package broker

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"

	"github.com/redis/rueidis"
)

// errURL is the cause when a URL is not understood. The parser's own words may have a
// password in them.
var errURL = errors.New("the URL of Redis is not one that is understood")

// parseURL reads a URL as RedisConfig has it.
func parseURL(text string) (rueidis.ClientOption, error) {
	u, err := url.Parse(text)
	if err != nil {
		return rueidis.ClientOption{}, errURL
	}
	option, err := rueidis.ParseURL(text)
	if err != nil {
		return option, errURL
	}
	q := u.Query()
	if option.TLSConfig == nil {
		if q.Has("cacert") || q.Has("cert") || q.Has("key") {
			return option, errors.New("the URL of Redis has certificates, and yet is not rediss://")
		}
	} else if err := secure(option.TLSConfig, q); err != nil {
		return option, err
	}
	option.Sentinel.TLSConfig = option.TLSConfig
	option.Sentinel.Username, option.Sentinel.Password = q.Get("sentinel_user"), q.Get("sentinel_password")
	return option, nil
}

// secure sets up TLS as the URL has it. The certificate of every server is to be for the
// host that the URL begins with: others of a cluster, and what Sentinels name, are often
// known by an IP address alone.
func secure(c *tls.Config, q url.Values) error {
	if path := q.Get("cacert"); path != "" {
		text, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the CA of Redis: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return fmt.Errorf("read the CA of Redis: no certificate in %s", path)
		}
	}
	if q.Has("cert") || q.Has("key") {
		pair, err := tls.LoadX509KeyPair(q.Get("cert"), q.Get("key"))
		if err != nil {
			return fmt.Errorf("read the certificate for Redis: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return nil
}
