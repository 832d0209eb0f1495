package chat

import "crypto/rand"

const (
	idLength   = 12
	idAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
)

// NewID returns a fresh identifier: 12 random letters and digits (71 bits), the form
// of every Id of the service.
//
// IVS-MODEL: RoomID, LoggingConfigurationID, MessageID, ID
func NewID() string {
	var out [idLength]byte
	var random [2 * idLength]byte
	for n := 0; n < idLength; {
		rand.Read(random[:]) // never fails (crypto/rand)
		for _, b := range random {
			// 248 is the largest multiple of 62 in a byte: no letter is likelier.
			if b < 248 && n < idLength {
				out[n] = idAlphabet[b%62]
				n++
			}
		}
	}
	return string(out[:])
}

// ValidID reports whether s has the form of an identifier made by NewID.
func ValidID(s string) bool {
	return len(s) == idLength && consistsOf(s, isAlphanumeric)
}
