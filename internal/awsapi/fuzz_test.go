package awsapi

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"parlor/internal/chat"
)

// check serves a request and holds the answer to what all answers promise.
func check(t *testing.T, f *fixture, r *http.Request) {
	t.Helper()
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	switch {
	case w.Code >= 500:
		t.Errorf("%s %s: %d %s\n%s", r.Method, r.URL, w.Code, w.Body, f.logged)
	case w.Code == http.StatusNoContent:
		if w.Body.Len() > 0 {
			t.Errorf("204 with %q", w.Body)
		}
	case !json.Valid(w.Body.Bytes()):
		t.Errorf("%s %s: no JSON: %q", r.Method, r.URL, w.Body)
	}
	if w.Code >= 400 {
		if e := errorOf(t, w); e.Type != w.Header().Get("x-amzn-ErrorType") || e.Type == "" || e.Message == "" {
			t.Errorf("the error is not whole: %s", w.Body)
		}
	}
}

// FuzzDecode sends bodies to every operation that reads one.
func FuzzDecode(f *testing.F) {
	const room = "arn:aws:ivschat:us-west-2:123456789012:room/g1H2I3j4k5L6"
	const lc = "arn:aws:ivschat:us-west-2:123456789012:logging-configuration/ABcdef34ghIJ"
	for _, body := range syntaxSeeds {
		f.Add([]byte(body))
	}
	for _, body := range []string{
		`{"identifier":"` + room + `","name":"a","messageReviewHandler":{"uri":"","fallbackResult":"DENY"},"loggingConfigurationIdentifiers":["` + lc + `"]}`,
		`{"name":"a","destinationConfiguration":{"s3":{"bucketName":"abc"}},"tags":{"a":"b"}}`,
		`{"roomIdentifier":"` + room + `","userId":"u","capabilities":["SEND_MESSAGE"],"sessionDurationInMinutes":1,"attributes":{"a":"b"},"reason":"r"}`,
		`{"roomIdentifier":"` + room + `","eventName":"e","id":"M2YcHkgffEvU"}`,
		`{"nextToken":"","maxResults":1,"messageReviewHandlerUri":"","loggingConfigurationIdentifier":"` + lc + `"}`,
		`{"maximumMessageLength":99999999999999999999}`,
	} {
		f.Add([]byte(body))
	}
	server := newFixture(f)
	rows := slices.Sorted(maps.Keys(operations))
	f.Fuzz(func(t *testing.T, body []byte) {
		checkSyntax(t, body)
		for _, row := range rows {
			method, path, _ := strings.Cut(row, " ")
			if path == tagsPath {
				path += room
			}
			check(t, server, newRequest(method, path, string(body)))
		}
		// What was made is listed, and read on the way.
		check(t, server, newRequest("POST", "/ListRooms", ""))
		server.forget()
	})
}

// FuzzTagsPath sends paths below /tags/ as they come.
func FuzzTagsPath(f *testing.F) {
	server := newFixture(f)
	room := server.created(f, "CreateRoom", `{}`)
	for _, target := range []string{
		room, url.PathEscape(room), url.PathEscape(url.PathEscape(room)), "", "/", "%", "%2", "%00", "%ff", "..", "a?tagKeys=b", "a?tagKeys=%zz", room + "?tagKeys=a&tagKeys=", "a;b?c;d",
	} {
		f.Add(target)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(tagsPath + target)
		if err != nil {
			return // net/http answers that itself
		}
		for _, method := range []string{"GET", "POST", "DELETE"} {
			r := newRequest(method, "/", `{"tags":{}}`)
			r.URL, r.RequestURI = u, u.RequestURI()
			check(t, server, r)
		}
		server.logged.b.Reset()
	})
}

// FuzzAuthorization sends credentials in the header and in the query.
func FuzzAuthorization(f *testing.F) {
	for _, seed := range [][2]string{
		{testAuthorization, ""},
		{"", "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260102%2Fus-west-2%2Fivschat%2Faws4_request&X-Amz-Date=x&X-Amz-SignedHeaders=host&X-Amz-Signature=0"},
		{"Bearer x", ""}, {"AWS4-HMAC-SHA256", ""}, {"AWS4-HMAC-SHA256 Credential=////,Signature=,SignedHeaders=", ""},
		{"AWS4-HMAC-SHA256 Credential=123456789012/d/r/ivschat/aws4_request,Signature==,SignedHeaders=,=", ""},
		{"\xff", "%"}, {"", "X-Amz-Signature"},
	} {
		f.Add(seed[0], seed[1])
	}
	server := newFixture(f)
	f.Fuzz(func(t *testing.T, authorization, query string) {
		r := newRequest("POST", "/CreateRoom", `{}`)
		r.Header.Set("Authorization", authorization)
		r.URL.RawQuery = query
		r.RequestURI += "?" + query
		check(t, server, r)
		if who, _, err := server.identify(r); err == nil {
			if !chat.ValidAccount(who.Scope.Account) || who.Name == "" {
				t.Errorf("identified %+v", who)
			}
			for arn := range server.store.rooms {
				check(t, server, newRequest("POST", "/GetRoom", `{"identifier":"`+arn.String()+`"}`))
			}
		}
		server.forget()
	})
}
