package review

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

type call = func(context.Context, []byte) ([]byte, error)

// waits is a call that sees that its time is over.
func waits(ctx context.Context, _ []byte) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() }

// silence is waits without the time.
var silence = fails(context.DeadlineExceeded)

func answers(text string) call {
	return func(context.Context, []byte) ([]byte, error) { return []byte(text), nil }
}

func fails(err error) call {
	return func(context.Context, []byte) ([]byte, error) { return nil, err }
}

// inTurn makes the calls of a handler one after the other, the last of them for ever.
// asked counts them.
func inTurn(calls ...call) (c call, asked *atomic.Int32) {
	asked = new(atomic.Int32)
	return func(ctx context.Context, payload []byte) ([]byte, error) {
		n := int(asked.Add(1))
		return calls[min(n, len(calls))-1](ctx, payload)
	}, asked
}

func repeat(c call, n int) []call {
	calls := make([]call, n)
	for i := range calls {
		calls[i] = c
	}
	return calls
}

// virtually runs a test in virtual time with a rig.
func virtually(t *testing.T, f func(t *testing.T, r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRig(t)) })
}

// A question takes Timeout at most, to the nanosecond, even where the call does not see
// that its time is over. The place is given back when the call is over.
func TestTimeLimit(t *testing.T) {
	for name, c := range map[string]call{
		"hanging":  waits,
		"deaf":     func(context.Context, []byte) ([]byte, error) { time.Sleep(time.Hour); return []byte(allowed), nil },
		"too late": func(context.Context, []byte) ([]byte, error) { time.Sleep(Timeout + 1); return []byte(allowed), nil },
	} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(t *testing.T, r *rig) {
				h := r.calls(testARN, c)
				begun := time.Now()
				_, why := r.ask()
				if took := time.Since(begun); why != whyTimeout || took != Timeout {
					t.Errorf("got %q after %s, want a timeout after %s", why, took, Timeout)
				}
				if diff := cmp.Diff(r.counted(), map[string]int{"timeout": 1}); diff != "" {
					t.Error(diff)
				}
				synctest.Wait()
				if got, want := len(h.under), map[string]int{"hanging": 0, "deaf": 1, "too late": 1}[name]; got != want {
					t.Errorf("under way: got %d, want %d", got, want)
				}
				time.Sleep(time.Hour)
				synctest.Wait()
				if got := len(h.under); got != 0 {
					t.Errorf("under way when it is over: got %d", got)
				}
			})
		})
	}
	virtually(t, func(t *testing.T, r *rig) {
		r.calls(testARN, func(context.Context, []byte) ([]byte, error) { time.Sleep(Timeout - 1); return []byte(allowed), nil })
		if _, why := r.ask(); why != "" {
			t.Errorf("an answer at the last moment: got %q", why)
		}
	})
}

// What opens the breaker is so many silences in a row, and nothing less.
func TestBreakerOpens(t *testing.T) {
	refused := fmt.Errorf("dial: %w", &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED})
	for _, test := range []struct {
		name  string
		calls []call
		opens int // after so many calls; 0 for never
	}{
		{"timeouts", repeat(silence, 1), silencesToRest},
		{"refused connections", repeat(fails(refused), 1), silencesToRest},
		{"timeouts of the network", repeat(fails(&net.OpError{Op: "dial", Err: syscall.ETIMEDOUT}), 1), silencesToRest},
		{"an answer in between", append(append(repeat(silence, silencesToRest-1), answers(allowed)), silence), 2 * silencesToRest},
		{"a denial in between", append(append(repeat(silence, silencesToRest-1), answers(`{"ReviewResult":"DENY"}`)), silence), 2 * silencesToRest},
		{"an error in between", append(append(repeat(silence, silencesToRest-1), fails(errors.New("500"))), silence), 2 * silencesToRest},
		{"garbage in between", append(append(repeat(silence, silencesToRest-1), answers("garbage")), silence), 2 * silencesToRest},
		{"errors", repeat(fails(errors.New("500")), 1), 0},
		{"broken connections", repeat(fails(&net.OpError{Op: "read", Err: syscall.ECONNRESET}), 1), 0},
		{"garbage", repeat(answers("garbage"), 1), 0},
		{"answers that are too long", repeat(fails(errTooLong), 1), 0},
		{"answers that are not usable", repeat(answers(`{"ReviewResult":"MAYBE"}`), 1), 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtually(t, func(t *testing.T, r *rig) {
				c, asked := inTurn(test.calls...)
				r.calls(testARN, c)
				questions := 0
				for ; questions < 5*silencesToRest; questions++ {
					if _, why := r.ask(); why == whyResting {
						break
					}
				}
				want := test.opens
				if want == 0 {
					want = 5 * silencesToRest
				}
				if questions != want || int(asked.Load()) != want {
					t.Errorf("asked %d times, %d by questions, want %d", asked.Load(), questions, want)
				}
			})
		})
	}
}

// A connection whose messages take the handler too long does not bring about that others' are
// not reviewed, also where nobody else says anything meanwhile.
func TestBreakerIgnoresOneConnection(t *testing.T) {
	virtually(t, func(t *testing.T, r *rig) {
		r.calls(testARN, func(ctx context.Context, payload []byte) ([]byte, error) {
			if string(payload) == "slow" {
				return waits(ctx, nil)
			}
			return []byte(allowed), nil
		})
		var sender sync.WaitGroup
		slow := func() { sender.Go(func() { r.Review(context.Background(), testARN, []byte("slow"), usable) }) }
		for range 9 { // what a connection has at once, beside one at each tick
			slow()
		}
		for i := range 100 {
			slow()
			time.Sleep(time.Second / 10)
			if i%30 == 29 {
				if _, err := r.Review(context.Background(), testARN, []byte("other"), usable); err != nil {
					t.Errorf("after %d slow ones: %v", i+10, err)
				}
			}
		}
		sender.Wait()
	})
}

// A handler that is dead is asked within a second of its last silence, always; those
// who are not asked are not delayed, and each is counted.
func TestBreakerRestsForLessThanASecond(t *testing.T) {
	virtually(t, func(t *testing.T, r *rig) {
		var mu sync.Mutex
		var silent []time.Duration // how long nobody was asked, each time
		last := time.Time{}
		r.calls(testARN, func(ctx context.Context, _ []byte) ([]byte, error) {
			mu.Lock()
			silent = append(silent, time.Since(last))
			mu.Unlock()
			<-ctx.Done()
			mu.Lock()
			last = time.Now()
			mu.Unlock()
			return nil, ctx.Err()
		})
		var asks sync.WaitGroup
		for range silencesToRest {
			asks.Go(func() { r.ask() })
		}
		asks.Wait()
		synctest.Wait()
		silent = nil
		counts := map[why]int{}
		const each = time.Millisecond
		begun := time.Now()
		for time.Since(begun) < 10*time.Second {
			asks.Go(func() {
				begun := time.Now()
				_, why := r.ask()
				if took := time.Since(begun); why == whyResting && took != 0 {
					t.Errorf("one that was not asked took %s", took)
				}
				mu.Lock()
				defer mu.Unlock()
				counts[why]++
			})
			time.Sleep(each)
		}
		asks.Wait()
		synctest.Wait()
		for _, pause := range silent {
			if pause > restTime+each {
				t.Errorf("nobody was asked for %s", pause)
			}
		}
		if len(silent) < 9 || restTime+Timeout > time.Second {
			t.Errorf("%d trials in 10 s", len(silent))
		}
		got := r.counted()
		if got["resting"] != counts[whyResting] || got["timeout"] != counts[whyTimeout]+silencesToRest ||
			counts[whyResting]+counts[whyTimeout] != int(10*time.Second/each) {
			t.Errorf("counted %v, want %v and %d timeouts before", got, counts, silencesToRest)
		}
		if counts[whyTimeout] != len(silent) { // one at a time
			t.Errorf("%d timeouts in %d trials", counts[whyTimeout], len(silent))
		}
	})
}

// rested brings a handler to the end of a rest: the next question is the trial.
func (r *rig) rested(h *handler) {
	r.t.Helper()
	was := h.call
	h.call = silence
	for range silencesToRest {
		r.ask()
	}
	if _, why := r.ask(); why != whyResting {
		r.t.Fatalf("got %q, want resting", why)
	}
	synctest.Wait()
	h.call = was
	time.Sleep(restTime)
}

// A trial that is answered ends the rest for everybody.
func TestBreakerCloses(t *testing.T) {
	for name, c := range map[string]call{"answer": answers(allowed), "error": fails(errors.New("500")), "garbage": answers("garbage")} {
		t.Run(name, func(t *testing.T) {
			virtually(t, func(t *testing.T, r *rig) {
				h := r.calls(testARN, func(ctx context.Context, payload []byte) ([]byte, error) {
					time.Sleep(Timeout / 2)
					return c(ctx, payload)
				})
				r.rested(h)
				var asks sync.WaitGroup
				asks.Go(func() { r.ask() }) // the trial
				synctest.Wait()
				if _, why := r.ask(); why != whyResting {
					t.Errorf("during the trial: got %q, want resting", why)
				}
				asks.Wait()
				synctest.Wait()
				h.call = silence
				for i := range silencesToRest { // the count begins anew
					if _, why := r.ask(); why != whyTimeout {
						t.Fatalf("silence %d after the rest: got %q, want a timeout", i, why)
					}
				}
				if _, why := r.ask(); why != whyResting {
					t.Errorf("got %q, want resting", why)
				}
			})
		})
	}
}

// An asker who leaves during the trial, and one for whom there is no place, leave the
// trial to the next: else nobody would ever be asked again.
func TestBreakerTrialThatIsNone(t *testing.T) {
	t.Run("the asker leaves", func(t *testing.T) {
		virtually(t, func(t *testing.T, r *rig) {
			c, asked := inTurn(waits, answers(allowed))
			r.rested(r.calls(testARN, c))
			ctx, leave := context.WithTimeout(t.Context(), Timeout/2)
			defer leave()
			before := r.counted()
			_, err := r.Review(ctx, testARN, []byte(payload), usable)
			if f := (*failure)(nil); errors.As(err, &f) || !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v, want the asker's own end", err)
			}
			if diff := cmp.Diff(r.counted(), before); diff != "" {
				t.Errorf("it was counted: %s", diff)
			}
			if _, why := r.ask(); why != "" || asked.Load() != 2 {
				t.Errorf("the next: got %q", why)
			}
		})
	})
	t.Run("there is no place", func(t *testing.T) {
		virtually(t, func(t *testing.T, r *rig) {
			h := r.calls(testARN, answers(allowed))
			r.rested(h)
			for range maxUnderWay {
				h.under <- struct{}{}
			}
			if _, why := r.ask(); why != whyFull {
				t.Errorf("got %q, want full", why)
			}
			for range maxUnderWay {
				<-h.under
			}
			if _, why := r.ask(); why != "" {
				t.Errorf("when there are places again: got %q", why)
			}
		})
	})
}

// One who leaves a question that is not the trial does not open a second trial.
func TestBreakerHasOneTrial(t *testing.T) {
	virtually(t, func(t *testing.T, r *rig) {
		now := time.Now()
		var b breaker
		b.allow(now) // before the rest, and for long
		for range silencesToRest {
			b.heard(now, false, true)
		}
		now = now.Add(restTime)
		if may, trial := b.allow(now); !may || !trial {
			t.Fatal("no trial after the rest")
		}
		b.withdraw(false)
		if may, _ := b.allow(now); may {
			t.Error("a second trial")
		}
	})
}

// A silence that began before the rest, and is noticed late, does not prolong it, nor
// does it end a trial.
func TestBreakerLateSilence(t *testing.T) {
	now := time.Now()
	resting := func() (b breaker) {
		for range silencesToRest {
			b.heard(now, false, true)
		}
		return b
	}
	b := resting()
	b.heard(now.Add(Timeout), false, true)
	if may, trial := b.allow(now.Add(restTime)); !may || !trial {
		t.Error("a late silence prolonged the rest")
	}
	b.heard(now.Add(restTime), false, true) // during the trial
	if may, _ := b.allow(now.Add(restTime)); may {
		t.Error("a late silence spoke for the trial")
	}
	b.heard(now.Add(restTime), true, false)
	if may, trial := b.allow(now.Add(restTime)); !may || trial {
		t.Error("the trial was good, and there is a rest")
	}
	// A late answer ends the rest; the trial's silence is then one among others.
	b = resting()
	b.allow(now.Add(restTime))
	b.heard(now.Add(restTime), false, false)
	b.heard(now.Add(restTime), true, true)
	if may, trial := b.allow(now.Add(restTime)); !may || trial {
		t.Error("one silence makes a rest")
	}
}

// One question more than may be under way is not asked, is counted as such and costs
// nobody time. Other handlers have places of their own.
func TestFullPool(t *testing.T) {
	virtually(t, func(t *testing.T, r *rig) {
		h := r.calls(testARN, func(ctx context.Context, _ []byte) ([]byte, error) {
			time.Sleep(Timeout / 2)
			return []byte(allowed), nil
		})
		const more = 7
		var asks sync.WaitGroup
		for range maxUnderWay {
			asks.Go(func() {
				if _, why := r.ask(); why != "" {
					t.Errorf("got %q", why)
				}
			})
		}
		synctest.Wait()
		begun := time.Now()
		for range more {
			if _, why := r.ask(); why != whyFull {
				t.Errorf("got %q, want full", why)
			}
		}
		r.calls(testARN+":other", answers(allowed))
		if _, err := r.Review(t.Context(), testARN+":other", []byte(payload), usable); err != nil {
			t.Errorf("another handler: %v", err)
		}
		if took := time.Since(begun); took != 0 {
			t.Errorf("it took %s", took)
		}
		asks.Wait()
		if diff := cmp.Diff(r.counted(), map[string]int{"seconds": maxUnderWay + 1, "full": more}); diff != "" {
			t.Error(diff)
		}
		synctest.Wait()
		if len(h.under) != 0 {
			t.Errorf("under way: got %d", len(h.under))
		}
		if _, why := r.ask(); why != "" {
			t.Errorf("afterwards: got %q", why)
		}
	})
}

// A slow handler delays nobody but who asks it.
func TestSlowHandlerDelaysNobodyElse(t *testing.T) {
	virtually(t, func(t *testing.T, r *rig) {
		r.calls(testARN, waits)
		r.calls(testARN+":other", answers(allowed))
		var asks sync.WaitGroup
		for range 10 {
			asks.Go(func() { r.ask() })
		}
		synctest.Wait()
		begun := time.Now()
		if _, err := r.Review(t.Context(), testARN+":other", []byte(payload), usable); err != nil || time.Since(begun) != 0 {
			t.Errorf("got %v after %s", err, time.Since(begun))
		}
		asks.Wait()
		if got := time.Since(begun); got != Timeout { // all of them at once
			t.Errorf("took %s, want %s", got, Timeout)
		}
	})
}

// Handlers without end cost a bounded amount of memory, and of metrics.
func TestHandlersAreBounded(t *testing.T) {
	virtually(t, func(t *testing.T, r *rig) {
		busy := r.handler(testARN, time.Now())
		busy.under <- struct{}{}
		for i := range 3 * maxHandlers {
			h := r.calls(fmt.Sprint(testARN, ":", i), answers("garbage"))
			if _, err := r.Review(t.Context(), h.uri, nil, usable); r.whyOf(err) != whyInvalid {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond)
			if got := len(r.handlers); got > maxHandlers {
				t.Fatalf("got %d handlers, want at most %d", got, maxHandlers)
			}
		}
		if r.handlers[testARN] != busy {
			t.Error("one that has questions under way was forgotten, and its bound with it")
		}
		if r.handlers[fmt.Sprint(testARN, ":", 3*maxHandlers-2)] == nil {
			t.Error("one that was just asked was forgotten")
		}
		families, err := r.registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if got := len(f.Metric); got > maxHandlers+1 {
				t.Errorf("%s has %d series, want at most %d", f.GetName(), got, maxHandlers+1)
			}
		}
		if got, want := r.counted()["response_validation_errors"], 3*maxHandlers; got != want {
			t.Errorf("counted %d, want %d", got, want)
		}
		time.Sleep(2 * time.Minute)
		r.handler(testARN+":one-more", time.Now())
		if got := len(r.handlers); got != 2 {
			t.Errorf("got %d handlers after two minutes, want that and the busy one", got)
		}
	})
}

// A handler that fails is in the log once a minute.
func TestFailuresAreLoggedOnceAMinute(t *testing.T) {
	virtually(t, func(t *testing.T, r *rig) {
		r.calls(testARN, answers("garbage"))
		for range 60 {
			r.ask()
			time.Sleep(time.Second + time.Millisecond)
		}
		if got := strings.Count(r.log.String(), "\n"); got != 1 {
			t.Errorf("got %d lines in a minute, want 1", got)
		}
		r.ask()
		if got := strings.Count(r.log.String(), "\n"); got != 2 {
			t.Errorf("got %d lines in two minutes, want 2", got)
		}
	})
}
