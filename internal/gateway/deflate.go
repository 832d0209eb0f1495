package gateway

import (
	"bytes"
	"compress/flate"
	"io"
	"net/http"
	"strings"
	"sync"

	"github.com/gobwas/httphead"
)

// permessage-deflate (RFC 7692) without context takeover either way: no memory is
// kept for a connection, and one compressed form of a frame serves all.
const deflateAnswer = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"

// wantsDeflate reports whether the client offers permessage-deflate in a form that we
// can accept. A limit on the server's window is one that we cannot keep.
func wantsDeflate(h http.Header) bool {
	options, ok := httphead.ParseOptions([]byte(strings.Join(h.Values("Sec-WebSocket-Extensions"), ",")), nil)
	if !ok {
		return false
	}
	for _, option := range options {
		if string(option.Name) != "permessage-deflate" {
			continue
		}
		acceptable := true
		option.Parameters.ForEach(func(name, _ []byte) bool {
			switch string(name) {
			case "server_no_context_takeover", "client_no_context_takeover", "client_max_window_bits":
			default: // a limit on our window, which we cannot keep, or nothing RFC 7692 knows
				acceptable = false
			}
			return acceptable
		})
		if acceptable {
			return true
		}
	}
	return false
}

// syncTail ends a flushed deflate stream; RFC 7692 leaves it off the wire.
var syncTail = []byte{0, 0, 0xff, 0xff}

type deflater struct {
	out    bytes.Buffer
	writer *flate.Writer
}

var deflaters = sync.Pool{New: func() any {
	d := new(deflater)
	d.writer, _ = flate.NewWriter(&d.out, flate.BestSpeed) // the level is valid
	return d
}}

// deflate returns the compressed payload, or the payload itself where compressing
// does not make it smaller.
func deflate(payload []byte) (compressed bool, out []byte) {
	d := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out.Reset()
	d.writer.Reset(&d.out)
	// Writing to a Buffer does not fail.
	d.writer.Write(payload)
	d.writer.Flush()
	b := bytes.TrimSuffix(d.out.Bytes(), syncTail)
	if len(b) >= len(payload) {
		return false, payload
	}
	return true, bytes.Clone(b)
}

var inflaters = sync.Pool{New: func() any { return flate.NewReader(nil) }}

// inflateEnd is what was left off, and a last, empty block so that the reader finds
// an end.
var inflateEnd = []byte{0, 0, 0xff, 0xff, 1, 0, 0, 0xff, 0xff}

// inflate appends the decompressed message to dst, but no more than limit bytes of
// it. It may write behind the end of message.
func inflate(dst, message []byte, limit int) ([]byte, error) {
	r := inflaters.Get().(io.ReadCloser)
	defer inflaters.Put(r)
	// The pool's readers are flate's own, which can be reset.
	r.(flate.Resetter).Reset(bytes.NewReader(append(message, inflateEnd...)), nil)
	out := bytes.NewBuffer(dst)
	_, err := io.Copy(out, io.LimitReader(r, int64(limit)))
	return out.Bytes(), err
}
