// Package release is what is given to others: packages, the image, the GitHub Action, the
// bill of materials, and the tests that build each, install it and run what it brings.
//
// It is a module of its own: what builds and judges them is much code, which nothing else
// needs. nfpm is a tool of it (go tool nfpm).
package release
