package sigv4

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"sync"
)

// generation is how many derived keys a Verifier remembers before it begins to forget
// the older ones. At most twice as many are in memory.
const generation = 1024

// Verifier verifies signatures. Its zero value is ready; it is safe for concurrent use
// and must not be copied.
//
// It remembers the keys derived from secrets, which are good for one day, region and
// service each. Only one that has verified a request is remembered, so nobody can push
// out the others' with requests that he cannot sign.
type Verifier struct {
	// KeepPaths takes the path as it is. It is S3's rule; every other service, ivschat
	// among them, normalises the path.
	KeepPaths bool

	mu         sync.RWMutex
	young, old map[derivation]key
}

type key [sha256.Size]byte

// derivation is what a derived key depends on.
type derivation struct {
	accessKey, scope string
	secret           [sha256.Size]byte // its hash
}

// Verify reports whether the request of a signature is what the holder of the secret
// signed. body is the whole of the request's body. The error is
// InvalidSignatureException, and the same whatever is wrong.
func (v *Verifier) Verify(s *Signature, secret string, body []byte) error {
	sum := sha256.Sum256(body)
	bodyHash := hex.EncodeToString(sum[:])
	for _, stated := range s.request.Header["X-Amz-Content-Sha256"] {
		if stated != bodyHash {
			return mismatch()
		}
	}
	d := derivation{accessKey: s.AccessKey, scope: s.scope, secret: sha256.Sum256([]byte(secret))}
	k, known := v.recall(d)
	if !known {
		k = derive(secret, s.Date, s.Region, s.Service)
	}
	signed := s.signedBy(k, bodyHash, form{keepPath: v.KeepPaths}) ||
		s.Presigned && s.SessionToken != "" && s.signedBy(k, bodyHash, form{keepPath: v.KeepPaths, omitToken: true})
	if !signed {
		return mismatch()
	}
	if !known {
		v.remember(d, k)
	}
	return nil
}

// signedBy reports whether the signature is that of the key over the request.
func (s *Signature) signedBy(k key, bodyHash string, f form) bool {
	canonical, ok := s.appendCanonical(make([]byte, 0, 1024), bodyHash, f)
	if !ok {
		return false
	}
	signature := sign(k[:], s.appendStringToSign(make([]byte, 0, 256), canonical))
	var text [2 * sha256.Size]byte
	hex.Encode(text[:], signature[:])
	return hmac.Equal(text[:], []byte(s.provided))
}

func (s *Signature) appendStringToSign(b, canonical []byte) []byte {
	sum := sha256.Sum256(canonical)
	b = append(b, algorithm+"\n"...)
	b = s.Time.AppendFormat(b, basic)
	b = append(b, '\n')
	b = append(b, s.scope...)
	b = append(b, '\n')
	return hex.AppendEncode(b, sum[:])
}

func sign(secret, text []byte) (mac key) {
	h := hmac.New(sha256.New, secret)
	h.Write(text)
	h.Sum(mac[:0])
	return mac
}

// derive makes a scope's key from a secret.
func derive(secret, date, region, service string) key {
	k := sign([]byte("AWS4"+secret), []byte(date))
	for _, part := range [...]string{region, service, terminator} {
		k = sign(k[:], []byte(part))
	}
	return k
}

func (v *Verifier) recall(d derivation) (key, bool) {
	v.mu.RLock()
	k, ok := v.young[d]
	if ok {
		v.mu.RUnlock()
		return k, true
	}
	k, ok = v.old[d]
	v.mu.RUnlock()
	if ok {
		v.remember(d, k) // it is still in use
	}
	return k, ok
}

func (v *Verifier) remember(d derivation, k key) {
	// These are parts of a whole header, which need not live as long.
	d.accessKey, d.scope = strings.Clone(d.accessKey), strings.Clone(d.scope)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.young == nil || len(v.young) >= generation {
		v.young, v.old = map[derivation]key{}, v.young
	}
	v.young[d] = k
}
