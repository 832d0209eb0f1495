package parlortest_test

import (
	"context"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// startSeen starts a server whose console sees what [parlortest.Server.Client] makes.
func startSeen(t testing.TB, options ...func(*config.Config)) *parlortest.Server {
	t.Helper()
	return parlortest.Start(t, append([]func(*config.Config){func(c *config.Config) {
		c.Account, c.Regions = parlortest.Account, []string{parlortest.Region}
	}}, options...)...)
}

// keepTalking has a user of a room say something every so often, until it is ended.
func keepTalking(t testing.TB, s *parlortest.Server, room, user string) (end func()) {
	t.Helper()
	p := enter(t, s, s.Client(t), room, user)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := p.conn.Write(ctx, websocket.MessageText, []byte(`{"Action":"SEND_MESSAGE","Content":"hello"}`)); err != nil {
				return
			}
			if _, _, err := p.conn.Read(ctx); err != nil {
				return
			}
			select {
			case <-ctx.Done():
			case <-time.After(150 * time.Millisecond):
			}
		}
	}()
	end = func() {
		cancel()
		<-done
	}
	t.Cleanup(end)
	return end
}

// openNode shows the node, once two of its answers made a point of each chart.
func openNode(t testing.TB, address string, v view) *page {
	t.Helper()
	p := openBrowser(t).page(t, address+"/console/#/node", v)
	p.waitText("h1", "This node")
	p.wait(`document.querySelectorAll('[data-chart=memory] .line').length > 0`)
	return p
}

// What lines of a chart there are, and how low they go: as far as the axis.
const chartLines = `[...document.querySelectorAll('[data-chart=%s] [data-series] .line')].map((p) => p.getAttribute('d'))`

func TestBrowserNode(t *testing.T) {
	t.Parallel()
	s := startSeen(t)
	client := s.Client(t)
	room := newRoom(t, client, "lobby")
	keepTalking(t, s, room, "ada")
	p := openNode(t, s.URL, view{height: 1000})

	// Nobody hears ada but ada.
	p.waitText("[data-value=connections]", "1")
	p.waitText("[data-chart=latency] .legend", "p50")
	p.wait(`/\d (µs|ms)/.test(document.querySelector('[data-chart=latency] .legend').textContent)`)
	p.wait(`document.querySelector('[data-value=deliveries]').textContent.match(/[1-9]/)`)
	p.waitText("[data-chart=requests] .legend", "SEND_MESSAGE")
	p.waitText(".node td a", "lobby")
	p.waitText(".facts", "development")
	if got := p.texts("[data-chart=review], [data-chart=broker], [data-chart=records]"); len(got) > 0 {
		t.Errorf("got charts of what is not there: %q", got)
	}

	// A chart says what it shows, and can be read at any moment of it.
	p.wait(`/^Deliveries: frames written \d/.test(document.querySelector('[data-chart=deliveries] [role=img]').getAttribute('aria-label'))`)
	p.eval(`document.querySelector('[data-chart=deliveries] [role=slider]').focus()`, nil)
	p.press("ArrowLeft", "ArrowLeft")
	p.wait(`/^\d\d:\d\d:\d\d: frames written \d/.test(document.activeElement.getAttribute('aria-valuetext'))`)
	p.wait(`document.querySelectorAll('.chart:not([hidden]) .cursor line').length === document.querySelectorAll('.chart:not([hidden])').length`)
	p.press("Escape")
	p.wait(`document.querySelectorAll('.cursor line').length === 0`)
	p.click("[data-chart=deliveries] .chart-reader")
	p.wait(`/^\d\d:\d\d:\d\d$/.test(document.querySelector('[data-chart=memory] .chart-at').textContent)`)
	p.click("h1")
	p.wait(`document.querySelectorAll('.cursor line').length === 0`)
	p.click("[data-chart=latency] summary")
	p.waitText("[data-chart=latency] tbody", "p99")
	p.click("[data-chart=latency] summary")

	accessibleFromTop(p)
	p.unclipped()

	// While the page is hidden nothing is known, which no line covers.
	p.eval(`Object.defineProperty(document, 'hidden', { value: true, configurable: true })`, nil)
	time.Sleep(6 * time.Second)
	p.eval(`delete document.hidden`, nil)
	p.wait(`document.querySelector('[data-chart=memory] .line').getAttribute('d').split('M').length === 3`)

	p.click(".node td a")
	p.wait(`location.hash.startsWith('#/rooms/')`)
}

// A server that is started again counts from zero: the page says that it was gone, goes
// on, and shows no rate that never was.
func TestBrowserNodeRestarted(t *testing.T) {
	t.Parallel()
	s := startSeen(t)
	room := newRoom(t, s.Client(t), "lobby")
	end := keepTalking(t, s, room, "ada")
	p := openNode(t, s.URL, view{})
	p.expect(`.*`) // a server that is gone fails what is asked of it
	p.wait(`document.querySelector('[data-value=deliveries]').textContent.match(/[1-9]/)`)
	id := p.texts(".facts code")[0]
	end()
	s.Stop()
	p.waitText("[role=status]", "Not answering since")
	p.waitText("[data-value=connections]", "–")
	again := startSeen(t, func(c *config.Config) { c.Data, c.Listen = s.Data, strings.TrimPrefix(s.URL, "http://") })
	p.waitText("[role=status]", "Answering")
	keepTalking(t, again, room, "bob")
	p.wait(`document.querySelector('[data-value=deliveries]').textContent.match(/[1-9]/)`)
	p.wait(`document.querySelector('[data-chart=memory] .line').getAttribute('d').split('M').length === 3`)
	if got := p.texts(".facts code")[0]; got == id {
		t.Errorf("got the id %s of the one that is gone", got)
	}
	if got := p.texts(".picker"); len(got) > 0 {
		t.Errorf("got a choice of nodes, %q, where there is one", got)
	}
	for _, chart := range []string{"deliveries", "requests", "cpu"} {
		below := false
		p.eval(strings.Replace(chartLines, "%s", chart, 1)+`.join('').split(/[ML]/).some((at) => Number(at.split(' ')[1]) > 122.5)`, &below)
		if below {
			t.Errorf("the chart of %s goes below zero", chart)
		}
	}
}

// Nodes that answer in turn are told apart.
func TestBrowserNodeInTurn(t *testing.T) {
	t.Parallel()
	first, second := startSeen(t), startSeen(t)
	var targets []*url.URL
	for _, s := range []*parlortest.Server{first, second} {
		u, err := url.Parse(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, u)
	}
	var turn atomic.Int64
	balancer := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(targets[turn.Add(1)%2])
		r.Out.Host = r.In.Host
	}})
	t.Cleanup(balancer.Close)
	p := openBrowser(t).page(t, balancer.URL+"/console/#/node", view{})
	p.waitText(".picker", "2 nodes answer under this address in turn")
	var ids []string
	p.eval(`[...document.querySelectorAll('.picker option')].map((o) => o.value)`, &ids)
	if len(ids) != 2 {
		t.Fatalf("got nodes %q", ids)
	}
	for _, id := range ids {
		p.eval(`((s) => { s.value = `+quote(id)+`; s.dispatchEvent(new Event('change')) })(document.querySelector('.picker select'))`, nil)
		p.waitText(".facts", id)
		p.wait(`document.querySelectorAll('[data-chart=memory] .line').length > 0`)
		// What is shown stays, whoever answers.
		p.wait(`new Promise((done) => setTimeout(done, 1500))
			.then(() => document.querySelector('.facts').textContent.includes(` + quote(id) + `))`)
	}
	accessibleFromTop(p)
	p.screenshot("picker")
}

// TestBrowserNodeLooks takes pictures, and looks at the page as small as a phone.
func TestBrowserNodeLooks(t *testing.T) {
	s := startSeen(t)
	for _, name := range []string{"lobby", "stage", "backstage"} {
		keepTalking(t, s, newRoom(t, s.Client(t), name), "ada")
	}
	for name, v := range map[string]view{"light": {}, "dark": {theme: "dark"}, "phone": {phone: true, theme: "dark"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := openNode(t, s.URL, v)
			p.wait(`document.querySelector('[data-chart=memory] .line').getAttribute('d').split('L').length > 5`)
			p.unclipped()
			p.screenshot("top")
			p.eval(`document.querySelector('.charts').scrollIntoView()`, nil)
			p.screenshot("charts")
			p.eval(`document.querySelector('[aria-labelledby=node-rooms]').scrollIntoView()`, nil)
			p.screenshot("rooms")
			accessibleFromTop(p)
		})
	}
}

// accessibleFromTop looks where the bar at the top covers nothing: contrast under it
// cannot be computed.
func accessibleFromTop(p *page) {
	p.t.Helper()
	p.eval(`scrollTo({ top: 0, behavior: 'instant' })`, nil)
	p.accessible()
}
