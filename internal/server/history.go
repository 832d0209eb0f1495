package server

import (
	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/chat"
)

// histories is what histories of rooms are made of.
func (s *Server) histories() *chat.HistoryConfig {
	return &chat.HistoryConfig{
		Store:  s.store,
		Recent: s.broker.Recent,
		Failed: func(err error) { s.logger.Error("what rooms' histories lack waits to be stored", "error", err) },
	}
}

// registerHistory counts what is missing in histories.
func (s *Server) registerHistory(r prometheus.Registerer) {
	r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "parlor_history_lost_total", Help: "Messages and events missing in histories of rooms, since too many waited for the store.",
	}, func() float64 { return float64(s.service.HistoryLost()) }))
}
