package deploytest

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"helm.sh/helm/v3/pkg/strvals"
	"sigs.k8s.io/yaml"

	"parlor/internal/config"
	"parlor/internal/pgtest"
)

const operations = "docs/operations.md"

// checkMetrics holds the metrics that docs/operations.md names against what a node says. Those
// that have nothing to say yet are looked for in the source.
func checkMetrics(t *testing.T, scraped string) {
	t.Helper()
	source := ""
	err := filepath.WalkDir(filepath.Join(root, "internal"), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := os.ReadFile(name)
		source += string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`\b(?:parlor|process|go)_[a-z_]*[a-z]\b`).FindAllString(file(t, operations), -1)
	slices.Sort(names)
	names = slices.Compact(names)
	found := 0
	for _, name := range names {
		if regexp.MustCompile(`(?m)^`+name+`[ {]`).MatchString(scraped) || strings.Contains(scraped, "# TYPE "+name+" ") {
			found++
			continue
		}
		if !strings.Contains(source, `"`+name+`"`) {
			t.Errorf("no node has a metric %s", name)
		}
	}
	if found < 20 {
		t.Errorf("of %d metrics a node has only %d", len(names), found)
	}
}

func TestOperationsNamesWhatThereIs(t *testing.T) {
	text := file(t, operations)
	t.Run("links", func(t *testing.T) {
		for _, m := range regexp.MustCompile(`\]\(([^)#:]+)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, "docs", m[1])); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("flags", func(t *testing.T) {
		known := map[string]bool{}
		for _, f := range config.Fields(config.Serve) {
			known["--"+f.Name] = true
		}
		for _, verb := range [][]string{{"export"}, {"import"}, {"spool", "adopt"}} {
			help, err := command(t.Context(), t, nil, append(verb, "--help")...).CombinedOutput()
			if err != nil {
				t.Fatalf("%s: %v\n%s", verb, err, help)
			}
			for _, m := range regexp.MustCompile(`--[a-z-]+`).FindAllString(string(help), -1) {
				known[m] = true
			}
		}
		for _, m := range regexp.MustCompile("`(--[a-z-]+)").FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("no command of the page has %s", m[1])
			}
		}
	})
	t.Run("labels", func(t *testing.T) {
		page, found := metricsPage(t), 0
		for _, m := range regexp.MustCompile("`(?:rate\\()?(parlor_[a-z_]+)(?:\\[1m\\]\\))?` by `([a-z_]+)`(?: and `([a-z_]+)`)?").FindAllStringSubmatch(text, -1) {
			for _, label := range m[2:] {
				found++
				if label != "" && !slices.Contains(page[m[1]].labels, label) {
					t.Errorf("%s has no label %s", m[1], label)
				}
			}
		}
		if found < 10 {
			t.Errorf("only %d labels were found", found)
		}
	})
	t.Run("the time to stop", func(t *testing.T) {
		if want := fmt.Sprintf("`--drain-window` and %.0f s (", stopTime(t).Seconds()); !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	})
	t.Run("log lines", func(t *testing.T) {
		for line, where := range map[string]string{
			"the link to Redis is lost; trying again":                              "internal/broker/link.go",
			"the broker cannot be reached, and other nodes reach it":               "internal/server/nodes.go",
			"records of the chat log stay in the spool until this node runs again": "internal/chatlog/shipper.go",
			"TLS certificate reloaded":                                             "internal/server/tls.go",
			"no TLS certificate by ACME":                                           "internal/server/tls.go",
			"Signature expired":                                                    "internal/sigv4/check.go",
			"\"draining\"":                                                         "internal/server/server.go",
			"\"stopped\"":                                                          "internal/server/server.go",
		} {
			if !strings.Contains(text, line) || !strings.Contains(file(t, where), line) {
				t.Errorf("%q is not in both %s and %s", line, operations, where)
			}
		}
	})
}

// Every command of Parlor's in the page is one that it has.
func TestOperationsCommands(t *testing.T) {
	commands := 0
	for _, block := range regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(file(t, operations), -1) {
		for line := range strings.Lines(block[1]) {
			_, line, found := strings.Cut(" "+strings.TrimSpace(line), "parlor ")
			if !found || !regexp.MustCompile(`^(key|spool|config|serve|export|import)\b`).MatchString(line) {
				continue
			}
			commands++
			line, _, _ = strings.Cut(line, " #")
			args := append(strings.Fields(line), "--help")
			if out, err := command(t.Context(), t, nil, args...).CombinedOutput(); err != nil {
				t.Errorf("parlor %s: %v\n%s", line, err, out)
			}
		}
	}
	if commands < 3 {
		t.Errorf("only %d commands were found", commands)
	}
}

// The helm install of the page is one that the chart takes, and what it makes has the names
// of the other commands.
func TestOperationsHelmInstall(t *testing.T) {
	text := file(t, operations)
	_, install, found := strings.Cut(text, "helm install chat deploy/helm/parlor --namespace chat")
	install, _, ends := strings.Cut(install, "```")
	if !found || !ends {
		t.Fatal("there is no helm install")
	}
	values := map[string]any{}
	for _, m := range regexp.MustCompile(`--set (\S+)`).FindAllStringSubmatch(install, -1) {
		if err := strvals.ParseInto(m[1], values); err != nil {
			t.Fatal(err)
		}
	}
	given, err := yaml.Marshal(values)
	if err != nil {
		t.Fatal(err)
	}
	r := mustRender(t, string(given))
	for _, want := range []string{"statefulset/" + r.stateful.Name + " ", "data-" + r.stateful.Name + "-4", "exec " + r.stateful.Name + "-4"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	for _, e := range r.stateful.Spec.Template.Spec.Containers[0].Env {
		if key := e.ValueFrom.SecretKeyRef.Key; !strings.Contains(text, "--from-literal="+key+"=") {
			t.Errorf("the page makes no secret with %s", key)
		}
	}
	if !slices.Contains(r.stateful.Spec.Template.Spec.Containers[0].Args, "--credentials=/etc/parlor/credentials/credentials") ||
		!strings.Contains(text, "--from-file=credentials=") {
		t.Error("the page makes no secret with the credentials")
	}
}

// said runs a command of the page, which must be there word for word before its variables are
// filled in, as a shell would.
func said(t testing.TB, text string, change *strings.Replacer, env ...string) {
	t.Helper()
	if !strings.Contains(file(t, operations), "\n"+text+"\n") {
		t.Fatalf("the page does not say %q", text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shell := exec.CommandContext(ctx, "sh", "-c", change.Replace(text))
	shell.Env = append(os.Environ(), env...)
	if out, err := shell.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", text, err, out)
	}
}

// single is one node, without others.
type single struct {
	*process
	api *ivschat.Client
}

func startSingle(t testing.TB, dir string, env ...string) *single {
	t.Helper()
	keys := filepath.Join(dir, "credentials")
	put(t, keys, []byte(exampleKey))
	data := filepath.Join(dir, "data")
	if err := os.MkdirAll(data, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Getuid() == 0 {
		if err := os.Chown(data, user, user); err != nil {
			t.Fatal(err)
		}
	}
	ready := regexp.MustCompile(`API +(http://\S+)`)
	p := begin(t, "parlor", command(context.Background(), t, env, "serve", "--listen=127.0.0.1:0", "--data="+data, "--credentials="+keys, "--drain-window=0s"))
	until(t, "the server is ready", func() bool { return ready.MatchString(p.output()) })
	return &single{process: p, api: ivschat.New(ivschat.Options{
		Region:       "us-west-2",
		BaseEndpoint: aws.String(ready.FindStringSubmatch(p.output())[1]),
		Credentials:  credentials.NewStaticCredentialsProvider("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY", ""),
	})}
}

// A backup made while the server runs has what was acknowledged before, by the commands of the
// page.
func TestOperationsBackup(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	makeRoom := func(t *testing.T, s *single) string {
		t.Helper()
		room, err := s.api.CreateRoom(ctx, &ivschat.CreateRoomInput{Name: aws.String("kept")})
		if err != nil {
			t.Fatal(err)
		}
		return *room.Arn
	}
	hasRoom := func(t *testing.T, s *single, room string) {
		t.Helper()
		got, err := s.api.GetRoom(ctx, &ivschat.GetRoomInput{Identifier: aws.String(room)})
		if err != nil || *got.Name != "kept" {
			t.Errorf("after the restore: %v", err)
		}
		if _, err := s.api.CreateChatToken(ctx, &ivschat.CreateChatTokenInput{RoomIdentifier: aws.String(room), UserId: aws.String("a")}); err != nil {
			t.Errorf("after the restore: %v", err)
		}
	}
	t.Run("one node", func(t *testing.T) {
		if _, err := exec.LookPath("sqlite3"); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal("there is no sqlite3: make deps installs it on Debian")
			}
			t.Skip("there is no sqlite3")
		}
		old, next := shared(t), shared(t)
		running := startSingle(t, old)
		room := makeRoom(t, running)
		if err := os.MkdirAll(filepath.Join(next, "data"), 0o700); err != nil {
			t.Fatal(err)
		}
		copied := filepath.Join(next, "data", "parlor.db")
		change := strings.NewReplacer("/var/lib/parlor/", old+"/data/", "/var/backups/parlor.db", copied)
		said(t, `sqlite3 /var/lib/parlor/parlor.db ".backup '/var/backups/parlor.db'"`, change)
		said(t, `sqlite3 /var/backups/parlor.db 'PRAGMA integrity_check'`, change)
		makeRoom(t, running) // the server goes on
		said(t, `sudo -u parlor sqlite3 /var/lib/parlor/parlor.db 'DELETE FROM token_keys'`,
			strings.NewReplacer("sudo -u parlor ", "", "/var/lib/parlor/parlor.db", copied))
		if os.Getuid() == 0 {
			if err := os.Chown(copied, user, user); err != nil {
				t.Fatal(err)
			}
		}
		hasRoom(t, startSingle(t, next), room)
	})
	t.Run("many nodes", func(t *testing.T) {
		server := pgtest.Start(t)
		bin := postgresPrograms(t)
		from, to := server.CreateDatabase(t), server.CreateDatabase(t)
		room := makeRoom(t, startSingle(t, shared(t), "PARLOR_DATABASE_URL="+from))
		dump := filepath.Join(t.TempDir(), "parlor.dump")
		change := strings.NewReplacer("parlor.dump", dump)
		path := "PATH=" + bin + ":" + os.Getenv("PATH")
		said(t, `pg_dump --format=custom --file=parlor.dump "$PARLOR_DATABASE_URL"`, change, path, "PARLOR_DATABASE_URL="+from)
		for range 2 { // into an empty database, and over what is there
			said(t, `pg_restore --clean --if-exists --no-owner --exit-on-error --dbname="$PARLOR_DATABASE_URL" parlor.dump`, change, path, "PARLOR_DATABASE_URL="+to)
		}
		said(t, `psql --dbname="$PARLOR_DATABASE_URL" --command='DELETE FROM token_keys'`, change, path, "PARLOR_DATABASE_URL="+to)
		hasRoom(t, startSingle(t, shared(t), "PARLOR_DATABASE_URL="+to), room)
	})
}

// postgresPrograms is where pg_dump is: Debian keeps the newest of them out of PATH.
func postgresPrograms(t testing.TB) string {
	t.Helper()
	if path, err := exec.LookPath("pg_restore"); err == nil {
		return filepath.Dir(path)
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/pg_dump")
	if err != nil || len(found) == 0 {
		t.Fatal("PostgreSQL's programs are not here")
	}
	return filepath.Dir(found[len(found)-1])
}
