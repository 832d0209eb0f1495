package parlortest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// network is a network of a node's own: a namespace with nothing in it but loopback and
// one end of a cable. At the other end, in a second namespace, is Redis. Neither is to be
// seen from elsewhere: who wants to talk to the node opens a socket in its namespace.
type network struct {
	name, far string
	pull      func()
	plug      func()
}

const (
	nodeEnd = "198.18.47.1" // of a range that is for tests of networks: RFC 2544
	farEnd  = "198.18.47.2"
)

var networks atomic.Int32

// newNetwork makes one; nil where the machine does not allow that.
func newNetwork(t *testing.T) *network {
	t.Helper()
	if _, known := setns[runtime.GOARCH]; !known || os.Getuid() != 0 {
		t.Log("no network namespaces: a relay stands in")
		return nil
	}
	name := fmt.Sprintf("parlor-%d-%d", os.Getpid(), networks.Add(1))
	n := &network{name: name, far: name + "-far"}
	ip := func(line string) error {
		out, err := exec.Command("ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w: %s", line, err, out)
		}
		return nil
	}
	t.Cleanup(func() {
		ip("netns del " + n.name)
		ip("netns del " + n.far)
	})
	for _, line := range []string{
		"netns add " + n.name,
		"netns add " + n.far,
		"-n " + n.name + " link set lo up",
		"-n " + n.name + " link add cable type veth peer name cable netns " + n.far,
		"-n " + n.name + " addr add " + nodeEnd + "/24 dev cable",
		"-n " + n.far + " addr add " + farEnd + "/24 dev cable",
		"-n " + n.name + " link set cable up",
		"-n " + n.far + " link set cable up",
	} {
		if err := ip(line); err != nil {
			t.Logf("no network namespaces: a relay stands in: %v", err)
			return nil
		}
	}
	end := func(state string) func() {
		return func() {
			if err := ip("-n " + n.far + " link set cable " + state); err != nil {
				t.Error(err)
			}
		}
	}
	n.pull, n.plug = end("down"), end("up")
	return n
}

// move has a node run in the network: clients and PostgreSQL are on its loopback, Redis
// is at the far end of the cable.
func (n *network) move(t *testing.T, node *rigNode, database, redis string) {
	t.Helper()
	node.wrap = []string{"ip", "netns", "exec", n.name}
	inside := node.address
	// Clients: a listener here, a connection there.
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	newRelay(t, l, func() (net.Conn, error) { return in(n.name, dialTo(inside)) })
	node.address = l.Addr().String()
	// PostgreSQL and Redis: a listener there, a connection here.
	_, rest, _ := strings.Cut(database, "@")
	address, _, _ := strings.Cut(rest, "/")
	l, err = in(n.name, func() (net.Listener, error) { return net.Listen("tcp", address) })
	if err != nil {
		t.Fatal(err)
	}
	newRelay(t, l, dialTo(address))
	l, err = in(n.far, func() (net.Listener, error) { return net.Listen("tcp", farEnd+":6379") })
	if err != nil {
		t.Fatal(err)
	}
	newRelay(t, l, dialTo(redis))
	node.set("--redis-url", "redis://"+farEnd+":6379")
}

// setns is the number of the system call.
var setns = map[string]uintptr{"amd64": 308, "arm64": 268}

// in opens a socket in a network namespace: it stays there, wherever it is used.
func in[T any](name string, open func() (T, error)) (socket T, err error) {
	there, err := os.Open("/run/netns/" + name)
	if err != nil {
		return socket, err
	}
	defer there.Close()
	runtime.LockOSThread()
	here, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", syscall.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return socket, err
	}
	defer here.Close()
	enter := func(file *os.File) error {
		if _, _, number := syscall.RawSyscall(setns[runtime.GOARCH], file.Fd(), syscall.CLONE_NEWNET, 0); number != 0 {
			return fmt.Errorf("setns %s: %w", file.Name(), number)
		}
		return nil
	}
	if err := enter(there); err != nil {
		runtime.UnlockOSThread()
		return socket, err
	}
	socket, err = open()
	if back := enter(here); back != nil {
		return socket, errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return socket, err
}
