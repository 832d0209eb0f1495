package redistest

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"
)

// clusterSlots is how many slots a cluster has.
const clusterSlots = 16384

// Cluster is a set of redis-servers that share the slots among them.
type Cluster struct {
	Primaries []*Server // as it was founded; each has an equal range of the slots
	Replica   *Server   // of Primaries[0], which it replaces when that is gone

	t    testing.TB
	tls  *Certificates // nil: plain
	args []string
	all  []*Server
}

// Certificates are files of a server that speaks TLS, and asks its clients for the same.
type Certificates struct{ CA, Cert, Key string }

// Arguments are those of a server that speaks TLS at a port as well.
func (c Certificates) Arguments(port int) []string {
	return []string{"--tls-port", fmt.Sprint(port), "--tls-ca-cert-file", c.CA, "--tls-cert-file", c.Cert, "--tls-key-file", c.Key}
}

// Query is how a URL names them.
func (c Certificates) Query() url.Values {
	return url.Values{"cacert": {c.CA}, "cert": {c.Cert}, "key": {c.Key}}
}

// StartCluster starts three primaries and a replica of the first, which end with the test.
// A primary that is silent for a second is replaced.
func StartCluster(t testing.TB, args ...string) *Cluster {
	t.Helper()
	c := &Cluster{t: t, args: args}
	c.found()
	return c
}

// StartTLSCluster is StartCluster, where servers and clients all speak TLS.
func StartTLSCluster(t testing.TB, with Certificates) *Cluster {
	t.Helper()
	c := &Cluster{t: t, tls: &with}
	c.found()
	return c
}

func (c *Cluster) found() {
	c.t.Helper()
	for range 3 {
		c.Primaries = append(c.Primaries, c.start())
	}
	for i, s := range c.Primaries {
		s.Do("CLUSTER", "ADDSLOTSRANGE", fmt.Sprint(clusterSlots*i/3), fmt.Sprint(clusterSlots*(i+1)/3-1))
		// One that knows the others' epochs to be its own gives way, which takes time.
		s.Do("CLUSTER", "SET-CONFIG-EPOCH", fmt.Sprint(i+1))
	}
	for _, s := range c.Primaries[1:] {
		c.meet(s)
	}
	c.Replica = c.start()
	c.meet(c.Replica)
	id := c.Primaries[0].ID()
	c.Until("the cluster is whole", func() bool {
		for _, s := range c.all {
			if !strings.Contains(s.Ask("CLUSTER", "INFO"), "cluster_state:ok") || strings.Count(s.Ask("CLUSTER", "NODES"), " connected") < len(c.all) {
				return false
			}
		}
		return true
	})
	c.Until("the replica has its primary", func() bool {
		return c.Replica.Ask("CLUSTER", "REPLICATE", id) == "+OK" &&
			strings.Contains(c.Replica.Ask("INFO", "replication"), "master_link_status:up")
	})
	c.Until("all know of the replica", func() bool {
		for _, s := range c.all {
			if !strings.Contains(s.Ask("CLUSTER", "NODES"), "slave "+id) {
				return false
			}
		}
		return true
	})
}

func (c *Cluster) start() *Server {
	c.t.Helper()
	args := append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-announce-ip", "127.0.0.1",
		"--repl-diskless-sync-delay", "0"}, c.args...)
	port := 0
	if c.tls != nil {
		port = FreePort(c.t)
		args = append(append(args, c.tls.Arguments(port)...), "--tls-cluster", "yes", "--tls-replication", "yes")
	}
	s := Start(c.t, args...)
	s.tlsPort = port
	c.all = append(c.all, s)
	return s
}

func (c *Cluster) meet(s *Server) {
	c.t.Helper()
	_, port, _ := net.SplitHostPort(c.address(c.Primaries[0]))
	s.Do("CLUSTER", "MEET", "127.0.0.1", port)
}

// Until waits until something is so, and fails the test when it takes too long.
func (c *Cluster) Until(what string, so func() bool) {
	c.t.Helper()
	until(c.t, what, so)
}

func until(t testing.TB, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Errorf("it is not so after %v: %s", patience, what)
			return
		}
	}
}

// URL is where Parlor finds the cluster.
func (c *Cluster) URL() string {
	scheme, query := "redis", url.Values{}
	if c.tls != nil {
		scheme, query = "rediss", c.tls.Query()
	}
	for _, s := range c.Primaries[1:] {
		query.Add("addr", c.address(s))
	}
	return scheme + "://" + c.address(c.Primaries[0]) + "?" + query.Encode()
}

// address is where a server is for the others and for clients.
func (c *Cluster) address(s *Server) string {
	if c.tls != nil {
		return fmt.Sprint("127.0.0.1:", s.tlsPort)
	}
	return s.Address()
}

// Add starts a primary that has no slots yet, and waits until all know it.
func (c *Cluster) Add() *Server {
	c.t.Helper()
	s := c.start()
	c.meet(s)
	id := s.ID()
	c.Until("all know of the server", func() bool {
		for _, other := range c.all {
			if !strings.Contains(other.Ask("CLUSTER", "NODES"), id) || !strings.Contains(other.Ask("CLUSTER", "INFO"), "cluster_state:ok") {
				return false
			}
		}
		return true
	})
	return s
}

// Move moves a slot from one primary to another as an operator's tools do, with what is
// in it; during is called when its keys are at the new one, and the slot still belongs to
// the old one.
func (c *Cluster) Move(slot int, from, to *Server, during func()) {
	c.t.Helper()
	number := fmt.Sprint(slot)
	must := func(s *Server, words ...string) {
		c.t.Helper()
		if got := s.Ask(words...); got != "+OK" && got != "+NOKEY" {
			c.t.Errorf("%q: got %q", words, got)
		}
	}
	must(to, "CLUSTER", "SETSLOT", number, "IMPORTING", from.ID())
	must(from, "CLUSTER", "SETSLOT", number, "MIGRATING", to.ID())
	for keys := from.Words("CLUSTER", "GETKEYSINSLOT", number, "100"); len(keys) > 0; keys = from.Words("CLUSTER", "GETKEYSINSLOT", number, "100") {
		for _, key := range keys { // one at a time: a room's keys are apart for a while
			must(from, "MIGRATE", "127.0.0.1", fmt.Sprint(to.Port), key, "0", "5000")
		}
	}
	during()
	must(to, "CLUSTER", "SETSLOT", number, "NODE", to.ID())
	must(from, "CLUSTER", "SETSLOT", number, "NODE", to.ID())
	for _, s := range c.Primaries {
		if s != from && s != to {
			must(s, "CLUSTER", "SETSLOT", number, "NODE", to.ID())
		}
	}
}

// ID is the server's name in its cluster.
func (s *Server) ID() string {
	s.t.Helper()
	return s.Ask("CLUSTER", "MYID")
}
