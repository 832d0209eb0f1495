// Package deploytest holds what is in deploy to what Parlor is: the Helm chart is
// rendered, the proxy of the compose file runs in front of real nodes, and the metrics
// that docs/operations.md names are those that a server has.
//
// It is a module of its own: Helm and Kubernetes' types are much code, which nothing
// else needs.
package deploytest
