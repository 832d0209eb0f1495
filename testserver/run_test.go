package testserver_test

import (
	"flag"
	"testing"
)

// asTest runs the test of an example, which runs once whatever -count says.
func asTest(name string, test func(*testing.T)) {
	count := flag.Lookup("test.count").Value
	defer count.Set(count.String())
	count.Set("1")
	testing.RunTests(func(string, string) (bool, error) { return true, nil }, []testing.InternalTest{{Name: name, F: test}})
}
