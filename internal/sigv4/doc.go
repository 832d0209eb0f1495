// Package sigv4 verifies AWS Signature Version 4: who signed an HTTP request, and
// whether it is still the request that was signed. It knows both forms, the
// Authorization header and the presigned query.
//
// A server reads the request's authentication, holds it to what the server is,
// looks the secret up, and verifies:
//
//	s, err := sigv4.Parse(r)                                  // who says so, and is all of it there?
//	err = s.Check("ivschat", served, time.Now())              // for this service, and of now?
//	secret, ok := credentials[s.AccessKey]                    // the caller's own matter, as is s.SessionToken
//	err = verifier.Verify(s, secret, body)                    // is it what was signed?
//
// Every error is an [*Error] whose text is for the client, in AWS's words. All of
// them are answered with 403. A server that trusts anybody uses Parse and
// [Signature.CheckScope] alone.
//
// Invariants:
//
//   - The package is pure: no I/O, no clock, no log. It imports the standard library
//     only. Nothing in a request makes it panic.
//   - What is signed is taken from the request as it was received (RequestURI, Host,
//     header values in their order), never from a request built anew.
//   - Signatures are compared in constant time.
//   - An error holds no secret, signature, session token or other Authorization scheme's
//     credentials. Of the request it repeats dates alone.
//   - Work and memory are linear in the size of the request (sorting its query aside): a
//     signed header can be named once only. Bounding the request is the caller's matter.
//   - A [Verifier] remembers a bounded number of derived keys, none but those that have
//     verified a request.
//
// Rules where AWS documents none, or more than one:
//
//   - The path is normalised (empty and "." segments go, ".." takes the one before it
//     along) and then escaped once more than it was received. A literal + in the query
//     is a space, as it is for net/url.
//   - Spaces and tabs collapse in header values, as botocore, the JavaScript SDK and the
//     Java SDK have it; the Go SDK leaves tabs alone.
//   - SignedHeaders must be lower case, sorted and free of repetition, and each of them
//     must be in the request. host must be among them, and in the header form the date.
//   - An x-amz-* header that was not signed does no harm: nothing in this service obeys
//     one, the session token is a credential of its own, and networks add their own
//     (X-Amz-Cf-Id). S3 refuses them.
//   - X-Amz-Content-Sha256 may be left out. When it is there it must be the hash of the
//     body, signed or not: UNSIGNED-PAYLOAD and the STREAMING values are S3's.
//   - A presigned request is good until X-Amz-Date plus X-Amz-Expires, for at most seven
//     days; without X-Amz-Expires, for five minutes like any other. It may not be dated
//     more than five minutes ahead.
//   - A session token may be signed, or appended to a presigned query afterwards.
//   - A request that has both an Authorization header and X-Amz-Algorithm is refused.
//
// The package does not know Signature Version 4A, chunked signing, or which keys exist.
package sigv4
