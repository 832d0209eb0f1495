// Package chat is the core of Parlor: rooms, logging configurations, tags, chat
// tokens, messages and events, the limits that hold for them, and the use cases
// over them ([Service], one method per operation, named as the Amazon IVS Chat API
// names it).
//
// Invariants:
//
//   - The package imports nothing of ours and no third-party module. What it needs
//     of the outside it names as a port: [Store] and [Broker].
//   - A client sees the text of an [Error] and of nothing else.
//   - A frame is encoded once, by [Service], and never changed afterwards.
//   - A control-plane write is acknowledged only once the Store says it is durable.
//
// The package does not speak HTTP, WebSocket or SQL, starts no goroutine and reads
// no environment. Inputs of the control-plane methods are expected to satisfy the
// API's field constraints (lengths, ranges, patterns): those belong to the wire and
// are checked by the package that decodes it. What needs stored state (does it
// exist, is it in use) is checked here.
package chat
