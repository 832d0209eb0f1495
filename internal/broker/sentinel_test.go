package broker

import (
	"testing"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func TestSentinel(t *testing.T) {
	watched := redistest.StartWatched(t)
	brokertest.Run(t, func(t *testing.T, deliver func(*chat.Publication)) chat.Broker {
		return open(t, watched.URL(), t.Name(), deliver)
	})
}
