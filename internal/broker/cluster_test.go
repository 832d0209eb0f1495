package broker

import (
	"testing"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
	"parlor/internal/redistest"
)

func TestCluster(t *testing.T) {
	cluster := redistest.StartCluster(t)
	brokertest.Run(t, func(t *testing.T, deliver func(*chat.Publication)) chat.Broker {
		return open(t, cluster.URL(), t.Name(), deliver)
	})
}
