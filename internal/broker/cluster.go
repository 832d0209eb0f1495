package broker

import (
	"context"
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/rueidis"
)

// slots says which server each slot of a cluster leads to.
type slots [16384]string

// askSlots asks a cluster.
func askSlots(ctx context.Context, client rueidis.Client) (*slots, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTime)
	defer cancel()
	list, err := client.Do(ctx, client.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return nil, err
	}
	known := client.Nodes()
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
		host, err1 := server[0].ToString()
		port, err2 := server[1].AsInt64()
		if err := errors.Join(err1, err2); err != nil {
			return nil, err
		}
		address := net.JoinHostPort(host, strconv.FormatInt(port, 10))
		if known[address] == nil {
			return nil, errNoServer // the client has not heard of it yet
		}
		for i := first; i <= last; i++ {
			s[i] = address
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
