package sigv4

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// window is how far a request's date may be from now, either way.
	window = 5 * time.Minute
	// longest is how long a presigned request may be good, in seconds.
	longest = 7 * 24 * 60 * 60
)

// Check holds a signature to what the server is: that what must be signed is said to be,
// that it is of now, and what CheckScope says. All faults are InvalidSignatureException.
// Check does not look at the secret; it is no proof of anything without Verify.
func (s *Signature) Check(service string, regions func(string) bool, now time.Time) error {
	if err := s.checkSigned(); err != nil {
		return err
	}
	if err := s.checkTime(now.Truncate(time.Second)); err != nil {
		return err
	}
	return s.CheckScope(service, regions)
}

// CheckScope holds the credential scope to the service's name, the regions that are
// served and the date of the request; it reports every fault at once.
func (s *Signature) CheckScope(service string, regions func(string) bool) error {
	var faults []string
	if !regions(s.Region) {
		faults = append(faults, regionText)
	}
	if s.Service != service {
		faults = append(faults, "Credential should be scoped to correct service: '"+service+"'.")
	}
	if s.terminator != terminator {
		faults = append(faults, terminatorText)
	}
	if day := s.Time.Format("20060102"); s.Date != day {
		faults = append(faults, fmt.Sprintf("Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: '%s' != '%s', from '%s'.",
			s.Date, day, stamp(s.Time)))
	}
	if faults != nil {
		return fault(invalidSignature, faults...)
	}
	return nil
}

// checkSigned looks for the headers that must be signed.
func (s *Signature) checkSigned() error {
	var host bool
	date := s.Presigned // the query is signed, always
	for _, name := range s.SignedHeaders {
		host = host || name == "host"
		date = date || strings.EqualFold(name, s.dateHeader)
	}
	if !host {
		return fault(invalidSignature, hostText)
	}
	if !date {
		return fault(invalidSignature, "'"+s.dateHeader+"' must be a 'SignedHeader' in the AWS Authorization.")
	}
	return nil
}

// checkTime looks for a signature that is too old or from the future.
func (s *Signature) checkTime(now time.Time) error {
	good := window
	if s.Presigned && s.expires != "" {
		seconds, message := parseExpires(s.expires)
		if message != "" {
			return fault(invalidSignature, message)
		}
		good = time.Duration(seconds) * time.Second
	}
	if earliest := now.Add(-good); s.Time.Before(earliest) {
		return fault(invalidSignature, fmt.Sprintf("Signature expired: %s is now earlier than %s (%s - %s.)",
			stamp(s.Time), stamp(earliest), stamp(now), span(good)))
	}
	if latest := now.Add(window); s.Time.After(latest) {
		return fault(invalidSignature, fmt.Sprintf("Signature not yet current: %s is still later than %s (%s + %s.)",
			stamp(s.Time), stamp(latest), stamp(now), span(window)))
	}
	return nil
}

// parseExpires reads X-Amz-Expires, or says what is wrong with it in S3's words.
func parseExpires(s string) (seconds int64, message string) {
	digits, negative := strings.CutPrefix(s, "-")
	for i := range len(digits) {
		if digits[i] < '0' || '9' < digits[i] {
			return 0, notANumberText
		}
	}
	if digits == "" {
		return 0, notANumberText
	}
	if negative {
		return 0, negativeText
	}
	seconds, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || seconds > longest {
		return 0, overAWeekText
	}
	return seconds, ""
}

// span writes a duration as AWS does: in minutes, if it is whole minutes.
func span(d time.Duration) string {
	if d%time.Minute == 0 {
		return strconv.FormatInt(int64(d/time.Minute), 10) + " min"
	}
	return strconv.FormatInt(int64(d/time.Second), 10) + " sec"
}
