package chat

import "testing"

// The signature is what others make of it:
//
//	printf '1700000000.{"é":1}' | openssl dgst -sha256 -hmac key
func TestSignWebhook(t *testing.T) {
	const want = "v1=ff6abf078a95cd0479c7a6011837c0f5d93a768a90806ff594f0fb42c2309af6"
	if got := SignWebhook([]byte("key"), "1700000000", []byte(`{"é":1}`)); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
