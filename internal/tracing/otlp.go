package tracing

import (
	"encoding/binary"
	"log/slog"
	"math"
	"time"
)

// What follows writes an ExportTraceServiceRequest of OTLP 1 as protocol buffers have it,
// and reads the answer. Field numbers are those of opentelemetry/proto/trace/v1.

// request encodes spans.
func (t *Tracer) request(spans []*span) []byte {
	var resource, scope, list message
	for _, a := range t.config.Resource {
		resource.embed(1, keyValue(a))
	}
	scope.text(1, "parlor")
	scope.text(2, t.config.Version)
	list.embed(1, scope)
	for _, s := range spans {
		list.embed(2, s.message())
	}
	var one, all message
	one.embed(1, resource)
	one.embed(2, list)
	all.embed(1, one)
	return all
}

const (
	kindInternal = 1
	kindServer   = 2
	statusError  = 2
	flagSampled  = 1
	flagKnown    = 1 << 8 // whether the parent is remote is known
	flagRemote   = 1 << 9
)

func (s *span) message() message {
	var m message
	m.bytes(1, s.trace[:])
	m.bytes(2, s.id[:])
	m.text(3, s.state)
	if s.parent != [8]byte{} {
		m.bytes(4, s.parent[:])
	}
	m.text(5, s.name)
	kind := uint64(kindInternal)
	if s.root {
		kind = kindServer
	}
	m.varint(6, kind)
	m.fixed64(7, uint64(s.begun.UnixNano()))
	m.fixed64(8, uint64(s.begun.UnixNano()+int64(s.took)))
	for _, a := range s.attributes {
		m.embed(9, keyValue(a))
	}
	if s.fault {
		var status message
		status.varint(3, statusError)
		m.embed(15, status)
	}
	flags := uint32(flagSampled | flagKnown)
	if s.remote {
		flags |= flagRemote
	}
	m.fixed32(16, flags)
	return m
}

// keyValue encodes an attribute.
func keyValue(a slog.Attr) message {
	var value, m message
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindBool:
		n := uint64(0)
		if v.Bool() {
			n = 1
		}
		value.varint(2, n)
	case slog.KindInt64:
		value.varint(3, uint64(v.Int64()))
	case slog.KindFloat64:
		value.fixed64(4, math.Float64bits(v.Float64()))
	default:
		value.bytes(1, []byte(v.String())) // also where it is empty: it has a value
	}
	m.text(1, a.Key)
	m.embed(2, value)
	return m
}

// message is an encoded message that grows.
type message []byte

const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

func (m *message) tag(field, wire int) { *m = binary.AppendUvarint(*m, uint64(field<<3|wire)) }

func (m *message) varint(field int, n uint64) {
	m.tag(field, wireVarint)
	*m = binary.AppendUvarint(*m, n)
}

func (m *message) fixed64(field int, n uint64) {
	m.tag(field, wireFixed64)
	*m = binary.LittleEndian.AppendUint64(*m, n)
}

func (m *message) fixed32(field int, n uint32) {
	m.tag(field, wireFixed32)
	*m = binary.LittleEndian.AppendUint32(*m, n)
}

func (m *message) bytes(field int, b []byte) {
	m.tag(field, wireBytes)
	*m = binary.AppendUvarint(*m, uint64(len(b)))
	*m = append(*m, b...)
}

func (m *message) text(field int, s string) {
	if s != "" {
		m.bytes(field, []byte(s))
	}
}

func (m *message) embed(field int, inner message) { m.bytes(field, inner) }

// fields calls f for each field of a message, with the number of a varint or the bytes
// of what has a length. It reports whether it could all be read.
func fields(b []byte, f func(field int, n uint64, inner []byte)) bool {
	for len(b) > 0 {
		tag, size := binary.Uvarint(b)
		if size <= 0 {
			return false
		}
		b = b[size:]
		n, skip := uint64(0), 0
		switch tag & 7 {
		case wireVarint:
			if n, skip = binary.Uvarint(b); skip <= 0 {
				return false
			}
		case wireFixed64:
			skip = 8
		case wireFixed32:
			skip = 4
		case wireBytes:
			length, size := binary.Uvarint(b)
			if size <= 0 || length > uint64(len(b)-size) {
				return false
			}
			f(int(tag>>3), 0, b[size:size+int(length)])
			b = b[size+int(length):]
			continue
		default:
			return false
		}
		if skip > len(b) {
			return false
		}
		f(int(tag>>3), n, nil)
		b = b[skip:]
	}
	return true
}

// rejected is how many spans an answer says were not taken.
func rejected(answer []byte) (n int64) {
	fields(answer, func(field int, _ uint64, partial []byte) {
		if field != 1 {
			return
		}
		fields(partial, func(field int, value uint64, _ []byte) {
			if field == 1 {
				n = int64(value)
			}
		})
	})
	return n
}

// record writes a span into the log.
func (s *span) record(l *slog.Logger) {
	attributes := []any{
		slog.String("name", s.name), slog.String("trace_id", hexOf(s.trace[:])), slog.String("span_id", hexOf(s.id[:])),
		slog.Time("begun", s.begun.UTC()), slog.Duration("duration", s.took.Round(time.Microsecond)),
	}
	if s.parent != [8]byte{} {
		attributes = append(attributes, slog.String("parent_id", hexOf(s.parent[:])))
	}
	if len(s.attributes) > 0 {
		group := make([]any, len(s.attributes))
		for i, a := range s.attributes {
			group[i] = a
		}
		attributes = append(attributes, slog.Group("attributes", group...))
	}
	l.Info("span", attributes...)
}
