package deploytest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"sigs.k8s.io/yaml"
)

// composeFile is what deploy/compose.yaml says. A key that is not here fails.
type composeFile struct {
	Name     string                    `json:"name"`
	Node     any                       `json:"x-node"`
	Services map[string]composeService `json:"services"`
	Networks map[string]struct {
		Internal bool `json:"internal"`
		IPAM     struct {
			Config []struct {
				Subnet string `json:"subnet"`
			} `json:"config"`
		} `json:"ipam"`
	} `json:"networks"`
	Volumes map[string]any `json:"volumes"`
	Secrets map[string]struct {
		File string `json:"file"`
	} `json:"secrets"`
}

type composeService struct {
	Image           string            `json:"image"`
	Command         []string          `json:"command"`
	User            string            `json:"user"`
	Environment     map[string]string `json:"environment"`
	Secrets         []string          `json:"secrets"`
	Networks        []string          `json:"networks"`
	DependsOn       any               `json:"depends_on"` // a list, or conditions
	Restart         string            `json:"restart"`
	StopGracePeriod string            `json:"stop_grace_period"`
	ReadOnly        bool              `json:"read_only"`
	Tmpfs           []string          `json:"tmpfs"`
	CapDrop         []string          `json:"cap_drop"`
	SecurityOpt     []string          `json:"security_opt"`
	Ulimits         map[string]int    `json:"ulimits"`
	Volumes         []string          `json:"volumes"`
	Ports           []string          `json:"ports"`
	Healthcheck     *struct {
		Test        []string `json:"test"`
		Interval    string   `json:"interval"`
		Timeout     string   `json:"timeout"`
		Retries     int      `json:"retries"`
		StartPeriod string   `json:"start_period"`
	} `json:"healthcheck"`
}

var nodes = []string{"parlor-1", "parlor-2", "parlor-3"}

func readCompose(t testing.TB, name string) *composeFile {
	t.Helper()
	var c composeFile
	if err := yaml.UnmarshalStrict([]byte(file(t, name)), &c); err != nil {
		t.Fatal(err)
	}
	return &c
}

func compose(t testing.TB) *composeFile {
	t.Helper()
	c := readCompose(t, "deploy/compose.yaml")
	for _, name := range nodes {
		if _, ok := c.Services[name]; !ok {
			t.Fatalf("there is no service %s", name)
		}
	}
	return c
}

// makeSecrets has compose-secrets.sh make the secrets, and returns where.
func makeSecrets(t testing.TB) string {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("secrets for other users are made by root")
		}
		t.Skip("secrets for other users are made by root")
	}
	dir := filepath.Join(shared(t), "secrets")
	for range 2 { // the second time it leaves all as it is
		if out, err := exec.Command("sh", "../compose-secrets.sh", dir).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	return dir
}

func TestComposeFitsTogether(t *testing.T) {
	c := compose(t)
	for name, service := range c.Services {
		for _, network := range service.Networks {
			if _, ok := c.Networks[network]; !ok {
				t.Errorf("%s: there is no network %s", name, network)
			}
		}
		for _, secret := range service.Secrets {
			if c.Secrets[secret].File != "./secrets/"+secret {
				t.Errorf("%s: there is no secret %s", name, secret)
			}
		}
		for _, volume := range service.Volumes {
			source, _, _ := strings.Cut(volume, ":")
			if _, ok := c.Volumes[source]; !ok && !strings.HasPrefix(source, "./") {
				t.Errorf("%s: there is no volume %s", name, source)
			}
		}
		for name := range dependencies(service) {
			if other, ok := c.Services[name]; !ok || other.Healthcheck == nil && !slices.Contains(nodes, name) {
				t.Errorf("%s waits for %s, of which nothing is known", name, name)
			}
		}
		for variable := range service.Environment {
			if strings.HasPrefix(variable, "PARLOR_") && !isSetting(variable) {
				t.Errorf("%s is no variable of Parlor's", variable)
			}
		}
		// What a process is told to read is what it was given.
		told := strings.Join(service.Command, " ")
		for _, value := range service.Environment {
			told += " " + value
		}
		for _, m := range regexp.MustCompile(`/run/secrets/([\w.-]+)`).FindAllStringSubmatch(told, -1) {
			if !slices.Contains(service.Secrets, m[1]) {
				t.Errorf("%s reads %s, which it is not given", name, m[0])
			}
		}
	}
	if len(c.Networks["front"].IPAM.Config) != 1 || !c.Networks["back"].Internal {
		t.Fatalf("the networks are %+v", c.Networks)
	}
	volumes := map[string]bool{}
	for _, name := range nodes {
		node := c.Services[name]
		volumes[node.Volumes[0]] = true
		if got, want := node.Environment["PARLOR_TRUSTED_PROXIES"], c.Networks["front"].IPAM.Config[0].Subnet; got != want {
			t.Errorf("%s trusts %s, the proxy is in %s", name, got, want)
		}
		drain, err1 := time.ParseDuration(node.Environment["PARLOR_DRAIN_WINDOW"])
		grace, err2 := time.ParseDuration(node.StopGracePeriod)
		if err1 != nil || err2 != nil || grace < drain+stopTime(t) {
			t.Errorf("%s has %v to stop, and may take %v", name, grace, drain+stopTime(t))
		}
		if node.User != fmt.Sprintf("%d:%d", user, user) || !node.ReadOnly || !slices.Equal(node.CapDrop, []string{"ALL"}) {
			t.Errorf("%s may too much", name)
		}
	}
	for _, name := range nodes {
		checksHealth(t, c.Services[name])
	}
	if len(volumes) != len(nodes) {
		t.Error("nodes share a volume")
	}
	postgres := c.Services["postgres"].Environment
	database, err := url.Parse(c.Services[nodes[0]].Environment["PARLOR_DATABASE_URL"])
	if err != nil || database.Host != "postgres:5432" || database.User.String() != postgres["POSTGRES_USER"] || database.Path != "/"+postgres["POSTGRES_DB"] {
		t.Errorf("the nodes go to %s, the database is %v", database, postgres)
	}
}

func dependencies(s composeService) map[string]bool {
	names := map[string]bool{}
	switch d := s.DependsOn.(type) {
	case []any:
		for _, name := range d {
			names[name.(string)] = true
		}
	case map[string]any:
		for name := range d {
			names[name] = true
		}
	}
	return names
}

func TestComposeProxyConfigurationNamesTheNodes(t *testing.T) {
	c := compose(t)
	text := file(t, "deploy/haproxy.cfg")
	for _, backend := range []string{"ready", "any"} {
		_, section, _ := strings.Cut(text, "\nbackend "+backend+"\n")
		section, _, _ = strings.Cut(section, "\n\n")
		var servers []string
		for _, m := range regexp.MustCompile(`(?m)^ +server (\S+) (\S+)$`).FindAllStringSubmatch(section, -1) {
			servers = append(servers, m[1])
			if m[2] != m[1]+c.Services[m[1]].Environment["PARLOR_LISTEN"] {
				t.Errorf("backend %s leads to %s", backend, m[2])
			}
		}
		if !slices.Equal(servers, nodes) {
			t.Errorf("backend %s has the servers %q", backend, servers)
		}
	}
	proxy := c.Services["proxy"]
	_, inside, _ := strings.Cut(strings.TrimPrefix(proxy.Ports[0], "127.0.0.1:"), ":")
	if !strings.Contains(text, "\n    bind :"+inside+"\n") {
		t.Errorf("the proxy does not listen on %s", inside)
	}
	if !strings.Contains(text, "\n    bind 127.0.0.1:8404\n") || !strings.Contains(strings.Join(proxy.Healthcheck.Test, " "), "http://127.0.0.1:8404/ready") {
		t.Error("the proxy's health is asked for where nothing is")
	}
}

func TestComposeSecrets(t *testing.T) {
	dir := makeSecrets(t)
	c := compose(t)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(c.Secrets) {
		t.Errorf("%d secrets were made, %d are wanted", len(entries), len(c.Secrets))
	}
	for name := range c.Secrets {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || info.Sys().(*syscall.Stat_t).Uid != user || info.Size() < 16 {
			t.Errorf("%s has mode %o, owner %d and %d bytes", name, info.Mode().Perm(), info.Sys().(*syscall.Stat_t).Uid, info.Size())
		}
	}
	var env []string
	for name, value := range c.Services[nodes[0]].Environment {
		env = append(env, name+"="+strings.ReplaceAll(value, "/run/secrets/", dir+"/"))
	}
	if err := check(t, env); err != nil {
		t.Error(err)
	}
	password := strings.TrimSpace(read(t, dir, "postgres-password"))
	if got, want := strings.TrimSpace(read(t, dir, "pgpass")), "postgres:5432:parlor:parlor:"+password; got != want {
		t.Error("pgpass has not the password of PostgreSQL's user at the host of compose.yaml")
	}
	_, valkey, _ := strings.Cut(strings.TrimSpace(read(t, dir, "valkey.conf")), "requirepass ")
	if got, want := strings.TrimSpace(read(t, dir, "parlor.yaml")), "redis-url: redis://:"+valkey+"@valkey:6379"; got != want {
		t.Error("parlor.yaml has not Valkey's password at the host of compose.yaml")
	}
}

func read(t testing.TB, dir, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// checksHealth has the health check of a service judge nothing at all, which must be no, in
// less than its time. It returns the arguments of it.
func checksHealth(t testing.TB, s composeService) []string {
	t.Helper()
	if s.Healthcheck == nil || len(s.Healthcheck.Test) < 2 || !slices.Equal(s.Healthcheck.Test[:2], []string{"CMD", "/parlor"}) {
		t.Fatalf("the health check is %+v", s.Healthcheck)
	}
	timeout, err := time.ParseDuration(s.Healthcheck.Timeout)
	if err != nil || timeout <= 3*time.Second { // what it waits for an answer
		t.Errorf("the health check may take %s", s.Healthcheck.Timeout)
	}
	args := s.Healthcheck.Test[2:]
	out, err := command(t.Context(), t, []string{"PARLOR_LISTEN=127.0.0.1:1"}, args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "refused") {
		t.Errorf("where nobody is, parlor %s says %v\n%s", strings.Join(args, " "), err, out)
	}
	return args
}

// The server for tests of others starts, is healthy by its own check, and takes any key.
func TestDevCompose(t *testing.T) {
	c := readCompose(t, "deploy/dev-compose.yaml")
	s, ok := c.Services["parlor"]
	if !ok || len(c.Services) != 1 {
		t.Fatalf("the services are %+v", c.Services)
	}
	args := checksHealth(t, s)
	_, inside, _ := strings.Cut(strings.TrimPrefix(s.Ports[0], "127.0.0.1:"), ":")
	if s.Environment["PARLOR_LISTEN"] != ":"+inside {
		t.Errorf("it listens on %s, the port that is published is %s", s.Environment["PARLOR_LISTEN"], inside)
	}
	for variable := range s.Environment {
		if !isSetting(variable) {
			t.Errorf("%s is no variable of Parlor's", variable)
		}
	}
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	env := []string{fmt.Sprintf("PARLOR_LISTEN=:%d", port), "TMPDIR=" + temporary(t)}
	begin(t, "parlor", command(context.Background(), t, env, s.Command...))
	until(t, "it is healthy", func() bool { return command(t.Context(), t, env, args...).Run() == nil })
	client := ivschat.New(ivschat.Options{
		Region:       "us-east-1",
		BaseEndpoint: aws.String(fmt.Sprintf("http://127.0.0.1:%d", port)),
		Credentials:  credentials.NewStaticCredentialsProvider("any", "key", ""),
	})
	if _, err := client.CreateRoom(t.Context(), &ivschat.CreateRoomInput{}); err != nil {
		t.Error(err)
	}
}

// temporary is a directory that every user may write to.
func temporary(t testing.TB) string {
	t.Helper()
	dir := shared(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}
