package chat

import "time"

// Rate is a token bucket that holds one second's worth of requests and refills
// evenly. The zero Rate is full. It is not safe for concurrent use.
type Rate struct {
	// free is when the bucket would be full if nothing more were taken (the
	// "theoretical arrival time" of GCRA).
	free time.Time
}

// Allow takes one request at now from a bucket of perSecond, and reports whether
// there was one to take. perSecond may change from call to call.
func (r *Rate) Allow(now time.Time, perSecond int) bool {
	interval := time.Second / time.Duration(perSecond)
	if r.free.Before(now) {
		r.free = now
	}
	if r.free.Sub(now) > time.Second-interval {
		return false
	}
	r.free = r.free.Add(interval)
	return true
}

// Return puts back one request that Allow took from a bucket of perSecond.
func (r *Rate) Return(perSecond int) { r.free = r.free.Add(-time.Second / time.Duration(perSecond)) }

// Idle reports whether the bucket is full at now: forgetting it changes nothing.
func (r *Rate) Idle(now time.Time) bool { return !r.free.After(now) }

// Rates are the buckets of many, by key. A bucket is full after a second at most, and
// forgetting a full one changes nothing: keys that are no longer used cost nothing. The
// zero Rates is empty. It is not safe for concurrent use.
type Rates[K comparable] struct {
	rates map[K]*Rate
	swept time.Time // when full buckets were last forgotten
}

// Allow is [Rate.Allow] of the key's bucket.
func (r *Rates[K]) Allow(key K, now time.Time, perSecond int) bool {
	if now.Sub(r.swept) > time.Second {
		r.swept = now
		for key, rate := range r.rates {
			if rate.Idle(now) {
				delete(r.rates, key)
			}
		}
	}
	rate := r.rates[key]
	if rate == nil {
		if r.rates == nil {
			r.rates = map[K]*Rate{}
		}
		rate = new(Rate)
		r.rates[key] = rate
	}
	return rate.Allow(now, perSecond)
}

// Return is [Rate.Return] of the key's bucket.
func (r *Rates[K]) Return(key K, perSecond int) {
	if rate := r.rates[key]; rate != nil {
		rate.Return(perSecond)
	}
}

// Len is how many buckets are remembered.
func (r *Rates[K]) Len() int { return len(r.rates) }
