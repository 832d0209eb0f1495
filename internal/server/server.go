// Package server puts Parlor together and carries it from start to stop. It is the
// one package that sees all others.
//
// Invariants:
//
//   - [New] opens everything that can fail to open (the listener, the store) and
//     starts nothing: what it returns runs.
//   - [Server.Run] owns every goroutine of the server, and returns when all have ended
//     and the store is closed.
//   - A stop goes one way: /readyz says no, sessions are ended over the drain window,
//     requests under way are answered, then the store closes. Each step is bounded in
//     time.
//   - A server that does not verify credentials answers only to names of this machine
//     and of AWS, and only to pages of this machine, unless it was told to be open: no
//     other web page can drive it, not even through a name of its own that it points
//     at a loopback address.
//
// The package has no logic of rooms, messages or the wire, and reads no environment.
package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"parlor/internal/awsapi"
	"parlor/internal/broker"
	"parlor/internal/chat"
	"parlor/internal/chatlog"
	"parlor/internal/cloudwatch"
	"parlor/internal/config"
	"parlor/internal/credentials"
	"parlor/internal/gateway"
	"parlor/internal/notices"
	"parlor/internal/store"
	"parlor/internal/tracing"
)

const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second // a whole request; bodies are small
	writeTimeout      = 60 * time.Second
	idleTimeout       = 2 * time.Minute
	// maxHeaderBytes has room for a chat token as a subprotocol beside what browsers
	// and proxies add.
	maxHeaderBytes = chat.MaxTokenLength + 24<<10

	pruneInterval = 5 * time.Minute
	// drainGrace is what sessions have beyond the drain window to take their last bytes.
	drainGrace = 5 * time.Second
	// shutdownGrace is what HTTP requests under way have to be answered.
	shutdownGrace = 5 * time.Second
)

// Server is one node.
type Server struct {
	logger      *slog.Logger
	drainWindow time.Duration

	listener  net.Listener
	keys      *credentials.File     // nil: any are accepted
	renew     func(context.Context) // keeps the TLS certificate up to date; may be nil
	store     *store.Store
	broker    broker.Running
	node      string                          // names this process among the nodes
	shared    bool                            // the store may have other nodes
	alone     bool                            // there is no broker for them
	others    atomic.Pointer[[]chat.NodeBeat] // as they were heard of last; nil before
	beaten    atomic.Int64                    // when the shared store took a beat last, Unix nanoseconds
	mode      config.Mode
	started   time.Time
	metrics   *prometheus.Registry
	recorder  *chatlog.Recorder
	tracer    *tracing.Tracer       // nil: no times are kept
	publisher *cloudwatch.Publisher // nil: metrics are not published
	notices   *notices.Notices
	service   *chat.Service
	gateway   *gateway.Gateway
	http      *http.Server

	debugListener net.Listener // nil: profiles are not served
	debug         *http.Server

	dev *development // nil but in parlor dev

	draining atomic.Bool
}

// New opens the listener and the store that a valid configuration names. An address
// in use is an error that wraps syscall.EADDRINUSE. Run must follow, also to close
// what was opened.
func New(c config.Config, logger *slog.Logger) (*Server, error) {
	if c.Data == "" {
		return nil, errors.New("no data directory is named")
	}
	if c.IOUring {
		logger.Warn("io-uring is without effect; take it out of the configuration")
	}
	s := &Server{logger: logger, drainWindow: c.DrainWindow, shared: c.DatabaseURL != "", alone: c.RedisURL == "", mode: c.Mode, started: time.Now()}
	quotas, err := c.LoadQuotas()
	if err != nil {
		return nil, err
	}
	filters, err := newFilters(c)
	if err != nil {
		return nil, err
	}
	declared, err := readSeed(c)
	if err != nil {
		return nil, err
	}
	var principals func(string) (awsapi.Principal, bool)
	if c.Credentials != "" {
		if s.keys, err = credentials.Open(c.Credentials, c.Account, logger); err != nil {
			return nil, err
		}
		principals = s.principal
	}
	encryption, renew, err := tlsConfig(c, logger)
	if err != nil {
		return nil, err
	}
	s.renew = renew
	if s.listener, err = listen(c); err != nil {
		return nil, err
	}
	if s.debugListener, err = newDebug(c); err != nil {
		s.listener.Close()
		return nil, err
	}
	if s.store, err = openStore(c); err != nil {
		s.closeListeners()
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registerProcess(registry)
	registerReady(registry, s)
	if s.shared {
		registerClock(registry, s.store)
	}
	if encryption != nil {
		registerCertificate(registry, c, encryption)
	}
	s.metrics = registry
	s.dev = s.newDevelopment(c, declared)
	reviewer, err := newReviewer(c, webhooksWith(c, declared), logger, registry)
	if err != nil {
		s.closeListeners()
		s.store.Close()
		return nil, err
	}
	if s.recorder, err = newRecorder(c, logger, registry); err != nil {
		s.closeListeners()
		s.store.Close()
		return nil, err
	}
	if encryption != nil {
		s.listener = gateway.TLSListener(s.listener, encryption)
	}
	s.node = chat.NewID()
	if s.tracer, err = newTracer(c.Tracing, s.node, logger, registry); err != nil {
		s.closeListeners()
		s.store.Close()
		return nil, err
	}
	if c.CloudWatchMetrics != "" {
		s.publisher = cloudwatch.New(cloudwatch.Config{Namespace: c.CloudWatchMetrics, Figures: registry, Metrics: registry, Logger: logger})
	}
	var tracer chat.Tracer
	if s.tracer != nil {
		tracer = s.tracer
	}
	if err = s.company(context.Background()); err == nil {
		s.broker, err = s.newBroker(c, registry)
	}
	if err == nil {
		s.notices, err = newNotices(c, s.node, logger, registry)
	}
	if err != nil {
		s.closeListeners()
		s.store.Close()
		return nil, err
	}
	var notice, ofSessions func(chat.Notice) // nil: nobody wants to know
	if s.notices.Any() {
		notice = s.notices.Notice
	}
	if s.notices.Sessions() {
		ofSessions = s.notices.Notice
	}
	parts := chat.ServiceConfig{
		Store: s.store, Broker: s.broker, Reviewer: reviewer, Recorder: s.recorder, Tracer: tracer, TokenLifetime: c.TokenLifetime, Quotas: quotas, Notice: notice, Filters: filters,
		History: s.histories(),
	}
	if s.dev != nil {
		s.dev.asked = reviewer
		parts.Reviewer, parts.Faults = s.dev.tools.Reviewer(reviewer), s.dev.tools
	}
	s.service = chat.NewService(parts)
	s.registerHistory(registry)
	s.gateway = gateway.New(gateway.Config{
		Service:      s.service,
		Broker:       s.broker,
		Logger:       logger,
		Metrics:      registry,
		Compression:  c.Compression,
		PingInterval: c.PingInterval,

		AllowedOrigins:        c.AllowedOrigins,
		ConnectionsPerAddress: c.ConnectionsPerAddress,
		HandshakesPerAddress:  c.HandshakesPerAddress,
		Notice:                ofSessions,
	})
	api := awsapi.New(awsapi.Config{
		Service:        s.service,
		Logger:         logger,
		Metrics:        registry,
		Credentials:    principals,
		DefaultAccount: c.Account,
		Regions:        c.Regions,
		Node:           s.describe,
		Notice:         notice,
		Tracer:         tracer,
	})
	var pages http.Handler
	if c.Console {
		pages = newConsole(c)
	}
	handler := s.route(api, pages)
	if s.keys == nil && !c.Open {
		handler = onlyThisMachine(handler)
	}
	handler = behindProxies(c.Proxies(), handler)
	s.http = &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          httpLog(logger),
	}
	newUnserved(registry).watch(s.http)
	s.debug = &http.Server{Handler: http.HandlerFunc(serveProfiles), ReadHeaderTimeout: readHeaderTimeout, ErrorLog: httpLog(logger)}
	return s, nil
}

// closeListeners closes what a server that does not start listened on.
func (s *Server) closeListeners() {
	s.listener.Close()
	if s.debugListener != nil {
		s.debugListener.Close()
	}
}

// httpLog takes what net/http has to say: panics and a listener without file
// descriptors are the server's trouble, TLS handshakes that fail are their clients'.
func httpLog(logger *slog.Logger) *log.Logger { return log.New(httpLogWriter{logger}, "", 0) }

type httpLogWriter struct{ logger *slog.Logger }

func (w httpLogWriter) Write(line []byte) (int, error) {
	level := slog.LevelWarn
	if bytes.HasPrefix(line, []byte("http: TLS handshake error")) {
		level = slog.LevelDebug
	}
	w.logger.Log(context.Background(), level, "http server", "error", string(bytes.TrimSpace(line)))
	return len(line), nil
}

// listen opens the listener. A server that is not open must come to stand on
// loopback, whatever its host name resolves to.
func listen(c config.Config) (net.Listener, error) {
	listener, err := net.Listen("tcp", c.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", c.Listen, err)
	}
	beyond := c.Open || c.Mode == config.Serve && (c.TLS() || c.InsecureHTTP)
	if ip := listener.Addr().(*net.TCPAddr).IP; !beyond && !ip.IsLoopback() {
		listener.Close()
		return nil, fmt.Errorf("listen on %s: the name stands for %s, which is not a loopback address", c.Listen, ip)
	}
	return listener, nil
}

// principal is who an access key stands for, now.
func (s *Server) principal(accessKey string) (awsapi.Principal, bool) {
	key, found := s.keys.Lookup(accessKey)
	if !found || key.Disabled {
		return awsapi.Principal{}, false
	}
	return awsapi.Principal{
		Name:         key.Name,
		Account:      key.Account,
		Secret:       key.Secret,
		SessionToken: key.SessionToken,
		Expires:      key.Expires,
		Policy:       key.Policy,
	}, true
}

// Addr is where the server listens. Connections wait there until Run answers them.
func (s *Server) Addr() *net.TCPAddr { return s.listener.Addr().(*net.TCPAddr) }

// Run serves until ctx ends, then stops in the order of the package comment. It
// returns nil after a stop that was asked for.
func (s *Server) Run(ctx context.Context) error {
	// What runs goes on through the drain, so it does not end with ctx.
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var children sync.WaitGroup
	failed := make(chan error, 8)
	// The recorder goes on until nobody publishes any more.
	recording, stopRecording := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRecording()
	var recorder sync.WaitGroup
	recorder.Go(func() {
		if err := s.recorder.Run(recording); err != nil {
			failed <- fmt.Errorf("record chat logs: %w", err)
		}
	})
	children.Go(func() {
		if err := s.plant(running); err != nil { // before anybody is answered
			s.listener.Close()
			failed <- err
			return
		}
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("serve %s: %w", s.Addr(), err)
		}
	})
	if s.debugListener != nil {
		s.logger.Info("profiles are served on this machine", "url", "http://"+s.debugListener.Addr().String()+profilesPath)
		children.Go(func() {
			if err := s.debug.Serve(s.debugListener); !errors.Is(err, http.ErrServerClosed) {
				failed <- fmt.Errorf("serve profiles: %w", err)
			}
		})
	}
	children.Go(func() {
		if err := s.gateway.Run(running); err != nil {
			failed <- fmt.Errorf("run the messaging gateway: %w", err)
		}
	})
	// Nor does the broker end before those who publish.
	connected, disconnect := context.WithCancel(context.WithoutCancel(ctx))
	defer disconnect()
	var link sync.WaitGroup
	link.Go(func() {
		if err := s.broker.Run(connected); err != nil {
			failed <- fmt.Errorf("run the broker: %w", err)
		}
	})
	// Nor do the notices, before the last session has ended.
	noticing, stopNoticing := context.WithCancel(context.WithoutCancel(ctx))
	defer stopNoticing()
	var noted sync.WaitGroup
	noted.Go(func() {
		if err := s.notices.Run(noticing); err != nil {
			failed <- fmt.Errorf("keep notices: %w", err)
		}
	})
	// Nor does what keeps histories.
	keeping, stopKeeping := context.WithCancel(context.WithoutCancel(ctx))
	defer stopKeeping()
	var kept sync.WaitGroup
	kept.Go(func() { s.service.KeepHistory(keeping) })
	// What the others did last is told too.
	telling, stopTelling := context.WithCancel(context.WithoutCancel(ctx))
	defer stopTelling()
	var tellers sync.WaitGroup
	if s.tracer != nil {
		tellers.Go(func() { s.tracer.Run(telling) })
	}
	if s.publisher != nil {
		tellers.Go(func() { s.publisher.Run(telling) })
	}
	children.Go(func() { s.prune(running) })
	children.Go(func() { s.hearControl(running) })
	children.Go(func() { s.renewShares(running) })
	children.Go(func() { s.watchNodes(running) })
	if s.keys != nil {
		children.Go(func() {
			if err := s.keys.Run(running); err != nil && running.Err() == nil {
				failed <- fmt.Errorf("follow the credentials file: %w", err)
			}
		})
	}
	if s.renew != nil {
		children.Go(func() { s.renew(running) })
	}

	var cause error
	select {
	case <-ctx.Done():
	case cause = <-failed:
	}
	s.draining.Store(true)
	s.logger.Info("draining", "window", s.drainWindow)
	begun := time.Now()
	if s.dev != nil {
		s.dev.tools.Close()
	}
	s.drain(running)
	s.shutDown(running)
	s.debug.Close() // its error is the listener's; a profile of the drain is cut short
	stop()
	children.Wait()
	stopNoticing()
	stopRecording()
	stopKeeping()
	noted.Wait()
	recorder.Wait()
	kept.Wait()
	s.giveUpShares(connected)
	disconnect()
	link.Wait()
	stopTelling()
	tellers.Wait()
	err := s.store.Close()
	if err != nil {
		err = fmt.Errorf("close the store: %w", err)
	}
	s.logger.Info("stopped", "after", time.Since(begun))
	return errors.Join(cause, err)
}

func (s *Server) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, s.drainWindow+drainGrace)
	defer cancel()
	s.gateway.Drain(ctx, s.drainWindow)
}

// shutDown answers the requests under way and breaks off those that take too long.
func (s *Server) shutDown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, shutdownGrace)
	defer cancel()
	if err := s.http.Shutdown(ctx); err != nil {
		s.logger.Warn("requests broken off", "error", err)
		s.http.Close() // its error is the listener's, which Shutdown closed
	}
}

func (s *Server) prune(ctx context.Context) {
	ticker := time.NewTicker(pruneInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := s.service.Prune(ctx); err != nil && ctx.Err() == nil {
			s.logger.Error("prune tokens and histories", "error", err)
		}
	}
}
