package sigv4

import (
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// FuzzParse reads hostile authentication, in both forms. What cannot be read has an
// error for a client; what can be read has not been signed by our key.
func FuzzParse(f *testing.F) {
	const authorization = algorithm + " Credential=" + credential + ", SignedHeaders=host;x-amz-date, Signature=00"
	query := strings.TrimPrefix(presignedTarget("&X-Amz-Expires=60"), "/ListRooms?")
	for _, seed := range [][3]string{
		{authorization, "20240522T121019Z", ""},
		{authorization, "Wed, 22 May 2024 12:10:19 GMT", "a=b"},
		{authorization, "20240522T121019Z", query + "&X-Amz-Signature=00"},
		{"", "", query + "&X-Amz-Signature=00"},
		{"", "", query + "&X-Amz-Signature=00&X-Amz-Signature=01&X-Amz-Security-Token=%zz"},
		{"", "", "X-Amz-Credential=x"},
		{"Bearer x", "", ""},
		{"Basic dXNlcjpwYXNz", "x", ""},
		{algorithm, "", ""},
		{algorithm + " Credential=////, SignedHeaders=;;, Signature==,,", "00000000T000000Z", "%58-Amz-Signature=1"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	names := []string{missingToken, incomplete, invalidSignature}
	f.Fuzz(func(t *testing.T, authorization, date, query string) {
		r := request("POST", "/ListRooms", nil)
		r.Header.Set("Authorization", authorization)
		r.Header.Set("Date", "Wed, 22 May 2024 12:10:19 GMT")
		if date != "" {
			r.Header.Set("X-Amz-Date", date)
		}
		retarget(r, "/ListRooms?"+query)

		hold := func(err error) {
			t.Helper()
			e, ok := errors.AsType[*Error](err)
			if !ok || !slices.Contains(names, e.Name) || e.Message == "" {
				t.Fatalf("got %#v", err)
			}
		}
		s, err := Parse(r)
		if err != nil {
			hold(err)
			if s != nil {
				t.Error("both a signature and an error")
			}
			if scheme, rest, _ := strings.Cut(strings.TrimSpace(authorization), " "); date == "" && len(rest) > 20 && strings.Contains(err.Error(), rest) {
				t.Errorf("the message tells the credentials of %s: %v", scheme, err)
			}
			return
		}
		if got, want := s.AccessKey+"/"+s.Date+"/"+s.Region+"/"+s.Service+"/"+s.terminator, s.AccessKey+"/"+s.scope; got != want {
			t.Errorf("scope: got %s, want %s", got, want)
		}
		if s.Time.Nanosecond() != 0 || len(s.SignedHeaders) == 0 || s.provided == "" {
			t.Errorf("got %+v", s)
		}
		if err := s.Check(testService, served, testTime); err != nil {
			hold(err)
		}
		var v Verifier
		err = v.Verify(s, testSecret, nil)
		if err == nil {
			t.Fatalf("%q, %q, %q verifies", authorization, date, query)
		}
		hold(err)
	})
}

// FuzzCanonical holds the canonical path, query and header values to their rules, and
// to a second, slower way to write them.
func FuzzCanonical(f *testing.F) {
	for _, seed := range [][3]string{
		{"/", "", ""},
		{"//example1/../example2/./..//", "Param=2&Param=1&%E1%88%B4=x&a", "  a   b\t c "},
		{"/tags/arn%3Aaws%3aivschat:room/x", "tagKeys=a+b&tagKeys=a%20b&tagkeys=%2b", "a,b"},
		{"/..", "&&=&==&a=b=c&;", "\t"},
		{"/a/%2e%2e/b/..", "a=%zz", "é"},
		{"/\x00\xff/~", "%", "a  "},
		{"", "a%3Db=1&a=b%261", "\"a   b   c\""},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, path, query, value string) {
		if strings.Count(query, "&") >= 10_000 {
			return // net/url refuses more
		}
		got := string(appendPath(nil, path, false))
		if want := slowPath(path); got != want {
			t.Errorf("path %q: got %s, want %s", path, got, want)
		}
		if !strings.HasPrefix(got, "/") || strings.Contains(got, "//") || strings.Contains(got+"/", "/../") || strings.Contains(got+"/", "/./") {
			t.Errorf("path %q: %s is not normal", path, got)
		}

		s := &Signature{query: query}
		b, ok := s.appendQuery(nil, false)
		values, err := url.ParseQuery(strings.ReplaceAll(query, ";", "%3B"))
		if ok != (err == nil) {
			t.Fatalf("query %q: got %v, net/url says %v", query, ok, err)
		}
		if got := string(b); ok {
			if want := slowQuery(values); got != want {
				t.Errorf("query %q: got %s, want %s", query, got, want)
			}
			again, ok := (&Signature{query: got}).appendQuery(nil, false)
			if !ok || string(again) != got {
				t.Errorf("query %q: %s, then %s", query, got, again)
			}
		}

		if got, want := string(appendValues(nil, []string{value, value})), slowValue(value)+","+slowValue(value); got != want {
			t.Errorf("value %q: got %q, want %q", value, got, want)
		}
	})
}

// slowPath is botocore's way.
func slowPath(path string) string {
	var out []string
	for segment := range strings.SplitSeq(path, "/") {
		switch {
		case segment == "" || segment == ".":
		case segment != "..":
			out = append(out, escape(segment))
		case len(out) > 0:
			out = out[:len(out)-1]
		}
	}
	end := ""
	if len(out) > 0 && strings.HasSuffix(path, "/") {
		end = "/"
	}
	return "/" + strings.Join(out, "/") + end
}

// slowQuery is the Go SDK's way.
func slowQuery(values url.Values) string {
	var out [][2]string
	for key, all := range values {
		for _, value := range all {
			out = append(out, [2]string{escape(key), escape(value)})
		}
	}
	slices.SortFunc(out, func(x, y [2]string) int { return slices.Compare(x[:], y[:]) })
	pairs := make([]string, len(out))
	for i, pair := range out {
		pairs[i] = pair[0] + "=" + pair[1]
	}
	return strings.Join(pairs, "&")
}

func escape(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

func slowValue(s string) string {
	s = strings.ReplaceAll(s, "\t", " ")
	for strings.Contains(s, "  ") {
		s = strings.ReplaceAll(s, "  ", " ")
	}
	return strings.Trim(s, " ")
}
