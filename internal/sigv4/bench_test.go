package sigv4

import (
	"testing"
)

// The request of the benchmarks is the Go SDK's CreateRoom.
func benchmark(b *testing.B, presign bool, each func(s *Signature, body []byte) error) {
	body := []byte(`{"name":"lobby","maximumMessageLength":500,"tags":{"team":"live"}}`)
	r := request("POST", "/CreateRoom", body)
	r.Header.Set("Amz-Sdk-Request", "attempt=1; max=3")
	r = onTheWire(b, bySDK(b, r, body, testToken, presign), body)
	b.ReportAllocs()
	for b.Loop() {
		s, err := Parse(r)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Check(testService, served, testTime); err != nil {
			b.Fatal(err)
		}
		if err := each(s, body); err != nil {
			b.Fatal(err)
		}
	}
}

// The three steps of a server, with a key it has seen, and without.
func BenchmarkRequest(b *testing.B) {
	var v Verifier
	cached := func(s *Signature, body []byte) error { return v.Verify(s, testSecret, body) }
	cold := func(s *Signature, body []byte) error { return new(Verifier).Verify(s, testSecret, body) }
	b.Run("header/cached", func(b *testing.B) { benchmark(b, false, cached) })
	b.Run("header/cold", func(b *testing.B) { benchmark(b, false, cold) })
	b.Run("presigned/cached", func(b *testing.B) { benchmark(b, true, cached) })
	b.Run("presigned/cold", func(b *testing.B) { benchmark(b, true, cold) })
}

// Verify alone.
func BenchmarkVerify(b *testing.B) {
	body := []byte(`{"name":"lobby","maximumMessageLength":500,"tags":{"team":"live"}}`)
	s, err := Parse(onTheWire(b, bySDK(b, request("POST", "/CreateRoom", body), body, "", false), body))
	if err != nil {
		b.Fatal(err)
	}
	var v Verifier
	b.Run("cached", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := v.Verify(s, testSecret, body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("cold", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := new(Verifier).Verify(s, testSecret, body); err != nil {
				b.Fatal(err)
			}
		}
	})
}
