package release

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/goreleaser/goreleaser/v2/pkg/config"
	"github.com/goreleaser/nfpm/v2"
)

// goreleaser is the configuration as goreleaser itself reads it: what it does not know fails.
func goreleaser(t testing.TB) config.Project {
	t.Helper()
	project, err := config.Load(filepath.Join(root, ".goreleaser.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if project.Version != 2 || len(project.Builds) != 1 || len(project.NFPMs) != 1 || len(project.DockersV2) != 1 {
		t.Fatalf("there are %d builds, %d packages, %d images", len(project.Builds), len(project.NFPMs), len(project.DockersV2))
	}
	return project
}

// A release has the program that make build makes.
func TestGoreleaserBuildsAsMakeDoes(t *testing.T) {
	b := goreleaser(t).Builds[0]
	out, err := exec.Command("make", "-C", root, "--dry-run", "build", "VERSION={{ .Tag }}", "REVISION={{ .FullCommit }}", "COMMITTED={{ .CommitDate }}").Output()
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^(.*) go build (.*) -ldflags '(.*)' -o bin/parlor ./cmd/parlor$`).FindStringSubmatch(string(out))
	if line == nil {
		t.Fatalf("make builds by\n%s", out)
	}
	if got, want := strings.Join(b.Flags, " "), strings.ReplaceAll(line[2], "'", ""); got != want {
		t.Errorf("its flags are %s, those of make %s", got, want)
	}
	if got, want := strings.Join(b.Ldflags, " "), line[3]; got != want {
		t.Errorf("its linker flags are %s, those of make %s", got, want)
	}
	if b.Main != "./cmd/parlor" || b.Binary != "parlor" || !slices.Equal(b.Env, []string{"CGO_ENABLED=0"}) || !strings.HasPrefix(line[1], "CGO_ENABLED=0") {
		t.Errorf("it builds %+v, make by %s", b.BuildDetails, line[1])
	}
}

// Its packages are those of nfpm.yaml. Those of one machine also have the bill of materials,
// which a release has beside them.
func TestGoreleaserPacksAsNfpmDoes(t *testing.T) {
	got := goreleaser(t).NFPMs[0]
	f, err := os.Open(filepath.Join(root, "deploy/nfpm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	want, err := nfpm.ParseWithEnvMapping(f, func(name string) string { return "1" })
	if err != nil {
		t.Fatal(err)
	}
	type content struct {
		Source, Destination, Type, Group string
		Mode                             os.FileMode
	}
	var has, wanted []content
	for _, c := range got.Contents {
		has = append(has, content{strings.Replace(c.Source, ".cache/release/", "dist/package/", 1), c.Destination, c.Type, c.FileInfo.Group, c.FileInfo.Mode})
	}
	for _, c := range want.Contents {
		if !slices.Contains([]string{"/usr/bin/parlor", "/usr/share/doc/parlor/parlor.cdx.json"}, c.Destination) {
			wanted = append(wanted, content{c.Source, c.Destination, c.Type, c.FileInfo.Group, c.FileInfo.Mode})
		}
	}
	if diff := cmp.Diff(has, wanted); diff != "" || len(has) < 5 {
		t.Errorf("its contents are others:\n%s", diff)
	}
	values := func(v ...any) string { return fmt.Sprintf("%q", v) }
	if a, b := values(got.PackageName, got.Section, got.Maintainer, got.Description, got.License, got.Release, got.Bindir, got.Umask,
		got.Scripts.PreInstall, got.Scripts.PostInstall, got.Scripts.PreRemove, got.Scripts.PostRemove, got.Deb.Predepends,
		got.Overrides["deb"].Dependencies, got.Overrides["deb"].Recommends, got.Overrides["rpm"].Dependencies, got.Overrides["rpm"].Recommends, got.RPM.Summary, got.RPM.Group, got.RPM.BuildHost),
		values(want.Name, want.Section, want.Maintainer, want.Description, want.License, want.Release, "/usr/bin", want.Umask,
			want.Scripts.PreInstall, want.Scripts.PostInstall, want.Scripts.PreRemove, want.Scripts.PostRemove, want.Deb.Predepends,
			want.Overrides["deb"].Depends, want.Overrides["deb"].Recommends, want.Overrides["rpm"].Depends, want.Overrides["rpm"].Recommends, want.RPM.Summary, want.RPM.Group, want.RPM.BuildHost); a != b {
		t.Errorf("it says\n%s\nnfpm.yaml says\n%s", a, b)
	}
	for _, c := range got.Contents {
		if _, err := os.Stat(filepath.Join(root, c.Source)); err != nil && !strings.HasPrefix(c.Source, ".cache/release/") {
			t.Error(err)
		}
	}
}

func TestGoreleaserImage(t *testing.T) {
	image := goreleaser(t).DockersV2[0]
	dockerfile := file(t, image.Dockerfile)
	target := strings.TrimPrefix(image.Flags[0], "--target=")
	_, stage, found := strings.Cut(dockerfile, " AS "+target+"\n")
	stage, _, _ = strings.Cut(stage, "\n\n")
	if !found || !strings.Contains(stage, "COPY $TARGETPLATFORM/parlor /parlor") {
		t.Errorf("the Dockerfile has no stage %s that takes a program", target)
	}
	for name := range image.BuildArgs {
		if !strings.Contains(stage, "ARG "+name+"=") {
			t.Errorf("the stage %s does not ask for %s", target, name)
		}
	}
}

// goListed is what go list says of a package.
type goListed struct {
	ImportPath, Dir string
	GoFiles         []string
	ImportMap       map[string]string
	Standard        bool
}

// Our packages compile for every platform that a release is for: they are checked with the
// types that everything they import has there. With PARLOR_SOAK they are built.
func TestGoreleaserPlatformsCompile(t *testing.T) {
	for _, target := range goreleaser(t).Builds[0].Targets {
		t.Run(target, func(t *testing.T) {
			t.Parallel()
			parts := strings.Split(target, "_")
			env := append(os.Environ(), "CGO_ENABLED=0", "GOOS="+parts[0], "GOARCH="+parts[1])
			if os.Getenv("PARLOR_SOAK") != "" {
				c := exec.Command("go", "build", "-o", os.DevNull, "./cmd/parlor")
				c.Dir, c.Env = root, env
				if out, err := c.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
				return
			}
			c := exec.Command("go", "list", "-deps", "-json=ImportPath,Dir,GoFiles,ImportMap,Standard", "./cmd/parlor")
			c.Dir, c.Env = root, env
			out, err := c.Output()
			if err != nil {
				t.Fatal(err)
			}
			checked := map[string]*types.Package{"unsafe": types.Unsafe}
			files := token.NewFileSet()
			ours := 0
			for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
				var p goListed // what it imports came before it
				if err := decoder.Decode(&p); err == io.EOF {
					break
				} else if err != nil {
					t.Fatal(err)
				}
				if p.ImportPath == "unsafe" {
					continue
				}
				isOurs := p.ImportPath == "parlor" || strings.HasPrefix(p.ImportPath, "parlor/")
				var parsed []*ast.File
				for _, name := range p.GoFiles {
					f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
					if err != nil {
						t.Fatal(err)
					}
					parsed = append(parsed, f)
				}
				faults := 0
				checker := types.Config{
					IgnoreFuncBodies: !isOurs,
					FakeImportC:      true,
					Sizes:            types.SizesFor("gc", parts[1]),
					Importer: importer(func(path string) (*types.Package, error) {
						if mapped, ok := p.ImportMap[path]; ok {
							path = mapped
						}
						if found, ok := checked[path]; ok {
							return found, nil
						}
						return nil, fmt.Errorf("nothing is known of %s", path)
					}),
					Error: func(err error) {
						if faults++; isOurs && faults < 10 {
							t.Error(err)
						}
					},
				}
				checked[p.ImportPath], _ = checker.Check(p.ImportPath, files, parsed, nil)
				if isOurs {
					ours++
				}
			}
			if ours < 10 {
				t.Errorf("only %d packages were checked", ours)
			}
		})
	}
}

type importer func(string) (*types.Package, error)

func (i importer) Import(path string) (*types.Package, error) { return i(path) }
