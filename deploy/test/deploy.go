// Package deploytest holds what is in deploy to what Parlor is: the Helm chart is
// rendered, the proxy of the compose file runs in front of real nodes, and the metrics
// that docs/operations.md, the dashboard and the rules name are those that a server has.
// Prometheus's own engine evaluates them.
//
// It is a module of its own: Helm, Kubernetes' types and Prometheus are much code, which nothing
// else needs.
package deploytest
