// Package awsapi speaks the Amazon IVS Chat control plane (service ivschat,
// 2020-07-14) over HTTP: restJson1, 17 operations, one table ([New]). It decodes and
// validates a request, calls one method of [chat.Service] and encodes what that
// returns. The same table has the operations of Parlor's own, under /parlor/: they are
// signed, decided, refused, counted and logged as the others are (node.go).
//
// Invariants:
//
//   - Every answer is complete before its first byte is written: a status, an
//     x-amzn-RequestId, the CORS headers and, but for 204, a JSON object. Errors too:
//     an error that is not JSON makes SDKs fail with something else.
//   - A client sees the text of a [chat.Error] or of this package's own fixed texts.
//     Everything else is a 500 with one text; its cause goes to the log.
//   - A request that breaks several constraints hears of all of them at once.
//   - What is accepted can be read back by every SDK.
//   - A request leaves one log record, without content, tokens, keys or attributes,
//     and one count. Neither is labelled by a room or a user.
//   - A request costs memory in proportion to its size, which is bounded, however it
//     is nested. A panic ends the request it happened in and nothing else.
//
// The package keeps no state between requests, starts no goroutine, and does not
// decide who a caller is beyond [Handler.identify].
package awsapi
