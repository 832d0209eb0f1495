package parlortest_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/aws-sdk-go-v2/service/ivschat/types"

	"parlor/internal/config"
	"parlor/internal/parlortest"
)

// twoAccounts are the keys of two accounts, for a server that checks signatures.
const twoAccounts = `[one]
aws_access_key_id = AKIAIOSFODNN7EXAMPLE
aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY
aws_account_id = 123456789012

[two]
aws_access_key_id = AKIAI44QH8DHBEXAMPLE
aws_secret_access_key = je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY
aws_account_id = 210987654321
`

// signedBy signs with one of those keys.
func signedBy(key, secret string) func(*ivschat.Options) {
	return func(o *ivschat.Options) { o.Credentials = credentials.NewStaticCredentialsProvider(key, secret, "") }
}

// startStrict starts a server as in production, with the console.
func startStrict(t testing.TB) *parlortest.Server {
	t.Helper()
	keys := filepath.Join(t.TempDir(), "credentials")
	if err := os.WriteFile(keys, []byte(twoAccounts), 0o600); err != nil {
		t.Fatal(err)
	}
	return startSeen(t, func(c *config.Config) {
		c.Mode, c.Credentials, c.Console = config.Serve, keys, true
		c.VerifyHandlers = false
	})
}

// signIn signs the page's tab in, as the first account.
func signIn(p *page) {
	p.t.Helper()
	p.fill("input[autocomplete=username]", "AKIAIOSFODNN7EXAMPLE")
	p.fill("input[autocomplete=current-password]", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
	p.press("Enter")
	p.waitGone("input[autocomplete=username]")
}

// A token is made, looked into, used, and looked into again; one of another account is
// refused; none stays in the address or among the calls. The server checks what the page
// signs.
func TestBrowserTokens(t *testing.T) {
	s := startStrict(t)
	client := s.Client(t, signedBy("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))
	newRoom(t, client, "backstage")
	room := newRoom(t, client, "lobby")
	p := openBrowser(t).page(t, s.URL+"/console/#/tokens", view{height: 1100})
	signIn(p)
	p.waitText("h1", "Tokens")

	// The room is found by a part of its name, with the keys.
	p.fill("[role=combobox]", "lob")
	p.waitText("[role=option]", "lobby")
	if got := p.texts("[role=option]"); len(got) != 1 {
		t.Errorf("got %q for lob", got)
	}
	p.press("ArrowDown", "Enter")
	p.waitText(".chooser", room)
	p.fill("input[maxlength='128']", "ada \u202ex")
	p.click("label >> DELETE_MESSAGE")
	p.click(".pairs .add")
	p.fill("[placeholder=Key]", "colour")
	p.fill("[placeholder=Value]", "<b>red</b>")
	accessibleFromTop(p)
	p.click("button >> Make the token")
	token := ""
	p.until("the token", `document.querySelector('.made textarea')?.value ?? ''`, &token, func() bool { return token != "" })
	for _, want := range []string{"wscat -c ws://", "new ChatRoom"} {
		p.wait(`document.querySelector('.made').textContent.includes(` + quote(want) + `)`)
	}
	p.wait(`document.querySelector('.made').textContent.split(` + quote(token) + `).length === 3`)

	p.click(".made button >> Look into it")
	p.waitText(".inspected", "Valid.")
	p.waitText(".inspected", "expires in 59 min")
	p.waitText(".inspected", "DELETE_MESSAGE")
	p.waitText(".inspected", "<b>red</b>")
	p.wait(`document.querySelector('.inspected dd bdi').textContent === 'ada \u202ex'`)
	accessibleFromTop(p)
	p.unclipped()
	p.screenshot("inspected")

	if _, status := dial(t, s, token); status != http.StatusSwitchingProtocols {
		t.Fatalf("the token: got %d", status)
	}
	p.click("form button >> Look into it")
	p.waitText(".inspected", "Spent.")
	p.waitText(".inspected", "A token opens one connection")

	p.expect(`(answered 4|status of 4).*DescribeToken`)
	p.expect(`the server responded with a status of 40`)
	foreign := s.Client(t, signedBy("AKIAI44QH8DHBEXAMPLE", "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"))
	theirs := newToken(t, foreign, newRoom(t, foreign, "theirs"), "eve")
	p.fill(".inspected-form textarea", theirs)
	p.click("form button >> Look into it")
	p.waitText(".inspected .problem", "another account")
	p.fill(".inspected-form textarea", token[:len(token)-5])
	p.click("form button >> Look into it")
	p.waitText(".inspected .problem", "no token of this server")
	accessibleFromTop(p)

	// From another place by its address, which forgets it; so do the calls.
	p.eval(`location.hash = '#/tokens/' + `+quote(token), nil)
	p.waitText(".inspected", "Spent.")
	where := ""
	p.eval(`location.href`, &where)
	if !strings.HasSuffix(where, "#/tokens") {
		t.Errorf("got the address %s", where)
	}
	p.eval(`navigator.clipboard.writeText = async (said) => { window.copied = (window.copied ?? '') + said }`, nil)
	p.click("nav a >> Calls")
	p.waitText("h1", "Calls")
	p.waitText("tbody", "CreateChatToken")
	p.eval(`document.querySelectorAll('tbody button').forEach((b) => b.click())`, nil)
	p.wait(`window.copied?.includes('create-chat-token')`)
	for _, secret := range []string{token, theirs, token[:len(token)-5]} {
		kept := false
		p.eval(`(window.copied + document.body.textContent + location.href + JSON.stringify([{...sessionStorage}, {...localStorage}, history.state])).includes(`+quote(secret)+`)`, &kept)
		if kept {
			t.Errorf("the token %.12s… is still somewhere", secret)
		}
	}
}

// A token in the address that the tab is opened with is gone before anybody signs in, and
// looked into after it.
func TestBrowserTokenAddress(t *testing.T) {
	s := startStrict(t)
	client := s.Client(t, signedBy("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))
	token := newToken(t, client, newRoom(t, client, "lobby"), "ada")
	p := openBrowser(t).page(t, s.URL+"/console/#/tokens/"+token, view{phone: true})
	p.waitText("h1", "Sign in")
	p.wait(`location.hash === '#/tokens'`)
	signIn(p)
	p.waitText(".inspected", "Valid.")
	p.unclipped()
	accessibleFromTop(p)
	p.screenshot("phone")
	p.eval(`document.querySelector('.inspected').scrollIntoView()`, nil)
	p.screenshot("phone-inspected")
	// What a session may do is made of no token: a refusal is said in the page.
	p.expect(`.*CreateChatToken|responded with a status of 400`)
	p.fill("[role=combobox]", "arn:aws:ivschat:us-west-2:123456789012:room/AAAAAAAAAAAA")
	p.fill("input[maxlength='128']", "bob")
	p.press("Enter")
	p.waitText(".problem", "ResourceNotFoundException")
}

// TestBrowserLoggingTags tags through the paths and queries that are escaped, on a server
// that checks signatures.
func TestBrowserLoggingTags(t *testing.T) {
	s := startStrict(t)
	client := s.Client(t, signedBy("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"))
	out := must[*ivschat.CreateLoggingConfigurationOutput](t)(client.CreateLoggingConfiguration(context.Background(), &ivschat.CreateLoggingConfigurationInput{
		Name: aws.String("archive"), Tags: map[string]string{"a b/ü(*)": "1"},
		DestinationConfiguration: &types.DestinationConfigurationMemberS3{Value: types.S3DestinationConfiguration{BucketName: aws.String("bucket")}},
	}))
	p := openBrowser(t).page(t, s.URL+"/console/#/logging", view{})
	signIn(p)
	p.waitText(".configuration .tag", "a b/ü(*): 1")
	p.click(".configuration button >> Tags")
	p.fill("dialog [placeholder=Key]", "team=é")
	p.fill("dialog [placeholder=Value]", "one two")
	p.press("Enter")
	p.waitText(".configuration .tag", "team=é: one two")
	tags := must[*ivschat.ListTagsForResourceOutput](t)(client.ListTagsForResource(context.Background(), &ivschat.ListTagsForResourceInput{ResourceArn: out.Arn})).Tags
	if len(tags) != 1 || tags["team=é"] != "one two" {
		t.Errorf("got the tags %v", tags)
	}
}
