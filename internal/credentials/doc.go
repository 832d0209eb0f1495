// Package credentials holds the access keys that a server lets in: it reads them from
// a file in the format of AWS's shared credentials, notices when the file changes, and
// writes keys into it.
//
// Invariants:
//
//   - A file is taken as a whole or not at all. What is not understood is a fault, and
//     every fault is reported at once, with its line.
//   - No fault, log record or formatted value shows a secret or a session token; where
//     a text might be one by mistake, it is not quoted.
//   - A [Set] never changes. A [File] swaps one for the next, so that whoever looks up a
//     key never waits, and never meets a file half written: a change counts once it has
//     stood still between two looks.
//   - A changed file that has faults leaves the keys in use as they are.
//   - A file that others than its owner can read is refused; one of root's may be for the
//     group of the server's user. It is written under a lock (FILE.lock, which stays
//     behind and means nothing) and replaced in one step: a writer that dies leaves the
//     old file, and two writers lose nothing.
//
// The package verifies no signature and decides nothing by a policy: it says what a key
// is, not what a request may. Disabled and expired keys are found too, and say that they
// are.
package credentials
