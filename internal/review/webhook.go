package review

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"parlor/internal/chat"
)

// errNotHTTP stands for errors of net/http that quote the answer.
var errNotHTTP = errors.New("the answer is not HTTP")

// webhook is an HTTP endpoint that answers as a function would.
type webhook struct {
	url    string
	secret []byte
}

// connectTimeout is how long a connection to a handler may take to come about. A
// question does not wait for it that long, but the next may use it.
const connectTimeout = 2 * time.Second

// hooks is the client of all webhooks. A question goes where it was meant to go, and
// nowhere else.
var hooks = &http.Client{
	Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: maxUnderWay, IdleConnTimeout: 90 * time.Second, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: connectTimeout}).DialContext, TLSHandshakeTimeout: connectTimeout,
		MaxResponseHeaderBytes: maxAnswer,
	},
	CheckRedirect: stay,
}

// stay follows no redirect.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// send sends a question. It goes out on another connection if the one that was kept turns
// out to be closed before a byte of the answer came: servers close those that are idle,
// and may do so just then. It may be asked twice so, which is better than not at all.
func send(c *http.Client, r *http.Request) (*http.Response, error) {
	r.Header["Idempotency-Key"] = nil // as net/http has it; none is sent
	response, err := c.Do(r)
	if of := (*url.Error)(nil); errors.As(err, &of) {
		err = of.Err // the URL may have a secret in its query
	}
	var network net.Error
	if err != nil && strings.HasPrefix(err.Error(), "net/http: HTTP/1.x transport connection broken") && !errors.As(err, &network) {
		err = errNotHTTP
	}
	return response, err
}

func (h *webhook) call(ctx context.Context, payload []byte) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	timestamp := strconv.FormatInt(time.Now().Unix(), 10)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set(chat.WebhookTimestamp, timestamp)
	r.Header.Set(chat.WebhookSignature, chat.SignWebhook(h.secret, timestamp, payload))
	response, err := send(hooks, r)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := readAll(response.Body) // all, for the sake of the connection
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the webhook answered with status %d", response.StatusCode)
	}
	return answer, err
}
