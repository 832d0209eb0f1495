package server

import "github.com/prometheus/client_golang/prometheus"

// Metrics are what the server registered.
func (s *Server) Metrics() *prometheus.Registry { return s.metrics }
