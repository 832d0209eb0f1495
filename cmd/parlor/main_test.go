package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/rogpeppe/go-internal/testscript"

	"parlor/internal/credentials"
	"parlor/internal/load"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"parlor": main})
}

// The scripts run the real command, as a process of its own. Beside testscript's own
// commands they have:
//
//	start NAME ARGS…           run parlor ARGS until it says that it is ready; sets $NAME_URL
//	halt [-SIGNAL…] NAME       signal it (default TERM), want exit code 0, promptly;
//	                           "! halt" wants exit code 1. Prints what it said.
//	get [-host H] STATUS URL   a GET; prints the body
//	call [-keys FILE] STATUS URL OPERATION [JSON]  a call of the control plane, signed with
//	                           the first key of the file, else hardly; prints the body
//	logged URL                 show two events in a new room that logs to the bucket bucket-one
//	hold URL                   begin a request and never finish it
//	rooms URL N NAME           make so many rooms of a name; in it, * is the number of each
//	use URL FILE               open a connection with the token that the file has
//	number FILE NAME WANT      a number of a JSON file, named like "a.b"
//	await FILE REGEXP          wait until the file has what matches, which may come to be later
//	certificate CERT KEY       make files for TLS at 127.0.0.1
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Values[processes{}] = map[string]*process{}
			e.Setenv("TMPDIR", e.WorkDir+"/tmp")
			return os.Mkdir(e.WorkDir+"/tmp", 0o700)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start":  start,
			"halt":   halt,
			"get":    get,
			"call":   call,
			"hold":   hold,
			"logged": logged,

			"use":         use,
			"rooms":       rooms,
			"number":      number,
			"await":       await,
			"certificate": certificate,
		},
	})
}

// processes is the key of a script's running servers, by name.
type processes struct{}

type process struct {
	command *exec.Cmd
	exited  chan error

	mu  sync.Mutex
	err bytes.Buffer // standard error
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

const patience = 20 * time.Second // for a loaded machine under the race detector

func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME ARGS…")
	}
	p, at, err := startParlor(args[1:], func(c *exec.Cmd) {
		c.Dir = ts.Getenv("WORK")
		c.Env = []string{"HOME=" + ts.Getenv("HOME"), "TMPDIR=" + ts.Getenv("TMPDIR"), "PATH=" + ts.Getenv("PATH")}
		for _, name := range []string{"PARLOR_LISTEN", "PARLOR_DATA", "PARLOR_CONFIG", "OTEL_TRACES_EXPORTER", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
			if v := ts.Getenv(name); v != "" {
				c.Env = append(c.Env, name+"="+v)
			}
		}
	})
	ts.Check(err)
	ts.Defer(func() {
		p.command.Process.Kill()
		<-p.exited
	})
	ts.Setenv(args[0]+"_URL", at)
	ts.Setenv(args[0]+"_ADDR", strings.TrimPrefix(at, "http://"))
	ts.Value(processes{}).(map[string]*process)[args[0]] = p
}

// startParlor runs the command until it is ready and returns its URL.
func startParlor(args []string, set func(*exec.Cmd)) (*process, string, error) {
	path, err := exec.LookPath("parlor")
	if err != nil {
		return nil, "", err
	}
	p := &process{command: exec.Command(path, args...), exited: make(chan error, 1)}
	set(p.command)
	p.command.Stderr = p
	if err := p.command.Start(); err != nil {
		return nil, "", err
	}
	go func() {
		p.exited <- p.command.Wait()
		close(p.exited)
	}()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		for line := range strings.Lines(p.said()) {
			if at, ok := strings.CutPrefix(strings.TrimSpace(line), "export AWS_ENDPOINT_URL_IVSCHAT="); ok && strings.HasSuffix(line, "\n") {
				return p, at, nil
			}
		}
		select {
		case err := <-p.exited:
			return nil, "", fmt.Errorf("parlor %v ended: %v\n%s", args, err, p.said())
		case <-time.After(time.Millisecond):
		}
	}
	p.command.Process.Kill()
	<-p.exited
	return nil, "", fmt.Errorf("parlor %v is not ready:\n%s", args, p.said())
}

func halt(ts *testscript.TestScript, neg bool, args []string) {
	var signals []syscall.Signal
	for len(args) > 1 {
		signal, ok := map[string]syscall.Signal{"-INT": syscall.SIGINT, "-HUP": syscall.SIGHUP, "-TERM": syscall.SIGTERM}[args[0]]
		if !ok {
			ts.Fatalf("unknown signal %s", args[0])
		}
		signals, args = append(signals, signal), args[1:]
	}
	if len(args) != 1 {
		ts.Fatalf("usage: halt [-SIGNAL…] NAME")
	}
	if signals == nil {
		signals = []syscall.Signal{syscall.SIGTERM}
	}
	p := ts.Value(processes{}).(map[string]*process)[args[0]]
	begun := time.Now()
	for i, signal := range signals {
		if i > 0 { // two signals at once may arrive as one
			for begun := time.Now(); !strings.Contains(p.said(), "a second signal exits at once") && time.Since(begun) < patience; {
				time.Sleep(time.Millisecond)
			}
		}
		ts.Check(p.command.Process.Signal(signal))
	}
	select {
	case err := <-p.exited:
		var exit *exec.ExitError
		switch {
		case neg && errors.As(err, &exit) && exit.ExitCode() == 1:
		case !neg && err == nil:
		default:
			ts.Fatalf("%s: got %v\n%s", args[0], err, p.said())
		}
	case <-time.After(patience):
		ts.Fatalf("%s did not stop:\n%s", args[0], p.said())
	}
	if took, want := time.Since(begun), 4*time.Second; took > want {
		ts.Fatalf("%s took %s to stop, want less than %s", args[0], took, want)
	}
	fmt.Fprint(ts.Stderr(), p.said())
}

func get(ts *testscript.TestScript, neg bool, args []string) {
	host := ""
	if len(args) > 2 && args[0] == "-host" {
		host, args = args[1], args[2:]
	}
	if neg || len(args) != 2 {
		ts.Fatalf("usage: get [-host H] STATUS URL")
	}
	r, err := http.NewRequest("GET", args[1], nil)
	ts.Check(err)
	r.Host = host
	send(ts, args[0], r)
}

func call(ts *testscript.TestScript, neg bool, args []string) {
	keys := ""
	if len(args) > 2 && args[0] == "-keys" {
		keys, args = args[1], args[2:]
	}
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: call [-keys FILE] STATUS URL OPERATION [JSON]")
	}
	body := strings.Join(args[3:], "")
	r := hardlySigned(ts, args[1]+"/"+args[2], body)
	if keys != "" {
		set, err := credentials.Load(ts.MkAbs(keys), "")
		ts.Check(err)
		key := set.Keys()[0]
		ts.Check(v4.NewSigner().SignHTTP(context.Background(), aws.Credentials{
			AccessKeyID: key.AccessKey, SecretAccessKey: key.Secret, SessionToken: key.SessionToken,
		}, r, fmt.Sprintf("%x", sha256.Sum256([]byte(body))), "ivschat", "us-west-2", time.Now()))
	}
	send(ts, args[0], r)
}

// hardlySigned is a call that a server of dev takes.
func hardlySigned(ts *testscript.TestScript, url, body string) *http.Request {
	r, err := http.NewRequest("POST", url, strings.NewReader(body))
	ts.Check(err)
	r.Header.Set("Content-Type", "application/json")
	now := time.Now().UTC().Format("20060102T150405Z")
	r.Header.Set("X-Amz-Date", now)
	r.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=123456789012/"+now[:8]+"/us-west-2/ivschat/aws4_request, SignedHeaders=host, Signature=00")
	return r
}

func logged(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: logged URL")
	}
	do := func(operation, body string) (arn string) {
		r := hardlySigned(ts, args[0]+"/"+operation, body)
		r.Close = true
		response, err := http.DefaultClient.Do(r)
		ts.Check(err)
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		ts.Check(err)
		if response.StatusCode != http.StatusOK {
			ts.Fatalf("%s: %s", operation, text)
		}
		var out struct{ ARN string }
		ts.Check(json.Unmarshal(text, &out))
		return out.ARN
	}
	configuration := do("CreateLoggingConfiguration", `{"destinationConfiguration":{"s3":{"bucketName":"bucket-one"}}}`)
	room := do("CreateRoom", `{"loggingConfigurationIdentifiers":["`+configuration+`"]}`)
	for range 2 {
		do("SendEvent", `{"roomIdentifier":"`+room+`","eventName":"e"}`)
	}
}

func send(ts *testscript.TestScript, status string, r *http.Request) {
	r.Close = true
	response, err := http.DefaultClient.Do(r)
	ts.Check(err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	ts.Check(err)
	fmt.Fprint(ts.Stdout(), string(body))
	if got := fmt.Sprint(response.StatusCode); got != status {
		ts.Fatalf("%s: got status %s, want %s\n%s", r.URL, got, status, body)
	}
}

func hold(ts *testscript.TestScript, neg bool, args []string) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(args[0], "http://"))
	ts.Check(err)
	ts.Defer(func() { conn.Close() })
	now := time.Now().UTC().Format("20060102T150405Z")
	fmt.Fprintf(conn, "POST /ListRooms HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\nX-Amz-Date: %s\r\n"+
		"Authorization: AWS4-HMAC-SHA256 Credential=123456789012/%s/us-west-2/ivschat/aws4_request, SignedHeaders=host, Signature=00\r\n\r\n", now, now[:8])
	line, err := bufio.NewReader(conn).ReadString('\n') // comes when the body is read
	ts.Check(err)
	if !strings.Contains(line, "100 Continue") {
		ts.Fatalf("got %q, want 100 Continue", line)
	}
}

func rooms(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: rooms URL N NAME")
	}
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	for i := range n {
		send(ts, "200", hardlySigned(ts, args[0]+"/CreateRoom", `{"name":"`+strings.ReplaceAll(args[2], "*", strconv.Itoa(i))+`"}`))
	}
}

func use(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: use URL FILE")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := load.Dial(ctx, "ws"+strings.TrimPrefix(args[0], "http")+"/", strings.TrimSpace(ts.ReadFile(args[1])))
	ts.Check(err)
	ts.Check(conn.Close())
}

func number(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: number FILE NAME WANT")
	}
	var at any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &at))
	for name := range strings.SplitSeq(args[1], ".") {
		object, _ := at.(map[string]any)
		at = object[name]
	}
	if got := fmt.Sprint(at); got != args[2] {
		ts.Fatalf("%s: got %s, want %s", args[1], got, args[2])
	}
}

func certificate(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: certificate CERT KEY")
	}
	der, pkcs8, err := makeCertificate()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
}

// makeCertificate makes a certificate for 127.0.0.1 and its key (PKCS #8).
func makeCertificate() (certificate, key []byte, err error) {
	secret, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	if certificate, err = x509.CreateCertificate(rand.Reader, template, template, secret.Public(), secret); err != nil {
		return nil, nil, err
	}
	key, err = x509.MarshalPKCS8PrivateKey(secret)
	return certificate, key, err
}

// BenchmarkStart measures from exec to the first answer of /healthz.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		dir := b.TempDir()
		b.StartTimer()
		p, at, err := startParlor([]string{"dev", "--listen", "127.0.0.1:0", "--data", dir}, func(*exec.Cmd) {})
		if err != nil {
			b.Fatal(err)
		}
		response, err := http.Get(at + "/healthz")
		b.StopTimer()
		if err != nil || response.StatusCode != http.StatusOK {
			b.Fatal(response, err)
		}
		response.Body.Close()
		p.command.Process.Signal(syscall.SIGTERM)
		if err := <-p.exited; err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
