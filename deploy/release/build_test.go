package release

import (
	"debug/buildinfo"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
)

// Whoever has the sources of a commit makes the bytes that others have of it, wherever and
// whenever. With PARLOR_SOAK it compiles all of it anew.
func TestBuildIsReproducible(t *testing.T) {
	t.Parallel()
	one := build(t)
	env := []string{"TZ=Asia/Tokyo", "LC_ALL=C", "USER=somebody", "HOSTNAME=elsewhere", "GOFLAGS=", "GOTOOLCHAIN=" + runtime.Version()}
	if os.Getenv("PARLOR_SOAK") != "" {
		env = append(env, "GOCACHE="+t.TempDir())
	}
	other, err := makeIn(filepath.Join(t.TempDir(), "a", "longer", "path"), env...)
	if err != nil {
		t.Fatal(err)
	}
	for name, paths := range map[string][2]string{
		"the program":           {one.program, other.program},
		"the bill of materials": {one.bill, other.bill},
		"the licenses":          {one.license, other.license},
		"the deb":               {one.deb, other.deb},
		"the rpm":               {one.rpm, other.rpm},
	} {
		if digest(t, paths[0]) != digest(t, paths[1]) {
			t.Errorf("%s is another, built elsewhere", name)
		}
		if a, b := filepath.Base(paths[0]), filepath.Base(paths[1]); a != b {
			t.Errorf("%s is called %s and %s", name, a, b)
		}
	}
	data := text(t, one.program)
	if strings.Contains(data, one.tree) || strings.Contains(data, os.TempDir()+"/release") {
		t.Error("the program names the directory that it was built in")
	}
}

func TestBuildSaysWhichItIs(t *testing.T) {
	m := build(t)
	var got struct{ Version, Revision, Committed, Go, Platform, Modules string }
	if err := json.Unmarshal([]byte(run(t, m.program, "version", "--json")), &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != version || got.Revision != revision || got.Committed != committed ||
		got.Go != runtime.Version() || got.Platform != runtime.GOOS+"/"+runtime.GOARCH || !strings.HasPrefix(got.Modules, "sha256:") {
		t.Errorf("got %+v", got)
	}
	for _, name := range []string{m.deb, m.rpm} {
		if !strings.Contains(filepath.Base(name), strings.TrimPrefix(version, "v")+"-1") {
			t.Errorf("of version %s there is %s", version, name)
		}
	}
}

// The bill of materials and the licenses are of the modules that the linker left in the
// program, all of them and no others.
func TestBillIsOfWhatIsLinkedIn(t *testing.T) {
	m := build(t)
	info, err := buildinfo.ReadFile(m.program)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"std " + info.GoVersion}
	for _, d := range info.Deps {
		want = append(want, d.Path+" "+d.Version)
	}
	if len(want) < 30 {
		t.Fatalf("only %d modules are linked in", len(want))
	}
	f, err := os.Open(m.bill)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bill cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(f, cyclonedx.BOMFileFormatJSON).Decode(&bill); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range *bill.Components {
		got = append(got, c.Name+" "+c.Version)
		if c.PackageURL != "pkg:golang/"+c.Name+"@"+c.Version || c.Name != "std" && (c.Hashes == nil || len((*c.Hashes)[0].Value) != 64) {
			t.Errorf("%s has the URL %s and the hashes %v", c.Name, c.PackageURL, c.Hashes)
		}
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("the bill has other modules:\n%s", diff)
	}
	if c := bill.Metadata.Component; c.Version != version || (*c.Hashes)[0].Value != digest(t, m.program) {
		t.Errorf("the bill is of %+v", c)
	}
	licenses := text(t, m.license)
	for _, name := range want[1:] {
		if !strings.Contains(licenses, "======== "+name+"\n\n") {
			t.Errorf("there is no license of %s", name)
		}
	}
	if count := strings.Count(licenses, "\n======== "); count > len(want) {
		t.Errorf("there are %d licenses of %d modules", count, len(want))
	}
}
