package credentials

import (
	"io/fs"
	"os"
	"testing"
)

func TestExposed(t *testing.T) {
	path := write(t, entry("a", idA, secretA), 0o600)
	info := func(mode fs.FileMode) fs.FileInfo {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info
	}
	me, somebody := os.Getuid(), 65532
	for _, c := range []struct {
		name string
		mode fs.FileMode
		user int
		root bool // only what is of a file of root's
		want bool
	}{
		{name: "its owner's alone", mode: 0o600, user: me},
		{name: "its group may read", mode: 0o640, user: me, want: true},
		{name: "anybody may read", mode: 0o604, user: me, want: true},
		{name: "root's, for the server's group", mode: 0o640, user: somebody, root: true},
		{name: "as Kubernetes mounts it", mode: 0o440, user: somebody, root: true},
		{name: "root's, and the group may write", mode: 0o660, user: somebody, root: true, want: true},
		{name: "root's, and anybody may read", mode: 0o444, user: somebody, root: true, want: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.root && me != 0 {
				t.Skip("only root has files of root's")
			}
			if got := exposed(info(c.mode), c.user); got != c.want {
				t.Errorf("mode %04o for user %d: exposed %v, want %v", c.mode, c.user, got, c.want)
			}
		})
	}
}
