package broker

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"
)

// slots says which server each slot of a cluster leads to.
type slots [16384]string

// askSlots asks a cluster: its servers, one after the other, in no order, until one knows.
func askSlots(ctx context.Context, client rueidis.Client) (*slots, error) {
	failed := errNoSlots
	for address, server := range client.Nodes() {
		s, err := askServer(ctx, address, server)
		if err == nil {
			return s, nil
		}
		failed = err
	}
	return nil, failed
}

// errNoSlots is the cause when a server knows of no cluster: it has just come, or was
// sent away.
var errNoSlots = errors.New("no server of the cluster has slots")

// askTime bounds the asking of one server.
const askTime = time.Second

func askServer(ctx context.Context, address string, client rueidis.Client) (*slots, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	list, err := client.Do(ctx, client.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, errNoSlots
	}
	var s slots
	for _, item := range list {
		one, err := item.ToArray()
		if err != nil || len(one) < 3 {
			return nil, errors.Join(errWire, err)
		}
		first, err1 := one[0].AsInt64()
		last, err2 := one[1].AsInt64()
		server, err3 := one[2].ToArray()
		if err := errors.Join(err1, err2, err3); err != nil || len(server) < 2 || first < 0 || last >= int64(len(s)) {
			return nil, errors.Join(errWire, err)
		}
		host, _ := server[0].ToString() // none, or "": the one that was asked
		if host == "" {
			host, _, _ = net.SplitHostPort(address)
		}
		port, err := server[1].AsInt64()
		if err != nil {
			return nil, err
		}
		at := net.JoinHostPort(host, strconv.FormatInt(port, 10))
		for i := first; i <= last; i++ {
			s[i] = at
		}
	}
	return &s, nil
}

// addresses are the servers that have slots.
func (s *slots) addresses() []string {
	var found []string
	last := ""
	for _, address := range s {
		if address != last && address != "" && !slices.Contains(found, address) {
			found = append(found, address)
		}
		last = address
	}
	return found
}

// slotOf is the slot of a key with a hash tag: CRC16 (XMODEM) of the tag.
func slotOf(key string) int {
	if _, rest, ok := strings.Cut(key, "{"); ok {
		if tag, _, ok := strings.Cut(rest, "}"); ok && tag != "" {
			key = tag
		}
	}
	crc := uint16(0)
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc % 16384)
}

// isDialError reports whether a call failed before there was a connection.
func isDialError(err error) bool {
	var of *net.OpError
	return errors.As(err, &of) && of.Op == "dial"
}

// isElsewhere reports whether a server of a cluster said that another one is to be asked,
// or that it will be soon.
func isElsewhere(err error) bool {
	said, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	for _, prefix := range []string{"MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN"} {
		if strings.HasPrefix(said.Error(), prefix) {
			return true
		}
	}
	return false
}
