// Package seed reads the file of rooms and logging configurations that a server of
// development starts with, and makes them. docs/development.md is its reference.
//
// Invariants:
//
//   - A file is used whole or not at all; every fault of it is reported at once, with its
//     line. What is not understood is refused.
//   - What may stand in an entry is what CreateRoom and CreateLoggingConfiguration take, by
//     the same names and under the same rules, which are those of awsapi.
//   - An entry is its ARN. That is said by arn or id, or follows from the name, so that it
//     is the same on every machine and after every start.
//   - Making it is idempotent: what is as declared stays, what is not becomes so, what is not
//     declared is left alone.
//
// The package knows nothing of reset, HTTP or where the file comes from.
package seed
