// Package develop is what a server of development has beside the service, so that teams
// can test their clients: POST /parlor/dev/reset, and faults that are injected on request
// (/parlor/dev/faults). docs/development.md is its reference.
//
// Invariants:
//
//   - No web page can call it, whatever the server answers to otherwise: calls that a
//     browser makes for a page are refused, and so is a body that a page could send without
//     being asked first.
//   - What is not understood is refused with the list of what there is.
//   - A server with access keys answers calls of this machine alone: they are not signed.
//   - While no fault is set, a request costs one atomic load. A server that is not of
//     development has no Tools at all.
//   - Nothing waits longer than maxDelay for a fault, nor beyond Close or the next reset.
//
// The package knows neither store nor sessions: it is given what acts on them.
package develop
