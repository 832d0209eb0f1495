package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/alecthomas/kong"

	"parlor/internal/credentials"
)

type keyCommand struct {
	Create  keyCreateCommand  `cmd:"" help:"Make an access key, add it to the credentials file and print it, once."`
	New     keyCreateCommand  `cmd:"" hidden:"" help:"What create was called at first."`
	List    keyListCommand    `cmd:"" help:"List the access keys of the credentials file, without their secrets."`
	Show    keyShowCommand    `cmd:"" help:"Show an access key of the credentials file, without its secret."`
	Disable keyDisableCommand `cmd:"" help:"Let an access key in no longer. Running servers notice within a second."`
}

// credentialsFlag is the file that the verbs of parlor key work on. It is that of the
// server, by the same flag and variable.
type credentialsFlag struct {
	Credentials string `name:"credentials" env:"PARLOR_CREDENTIALS" required:"" placeholder:"FILE" help:"The credentials file."`
}

// Validate is called by kong, for which an empty variable is a file.
func (c *credentialsFlag) Validate() error {
	if c.Credentials == "" {
		return errors.New("--credentials: no file is named")
	}
	return nil
}

// load reads the file.
func (c *credentialsFlag) load() (*credentials.Set, error) {
	set, err := credentials.Load(c.Credentials, "")
	return set, c.explain(err)
}

// explain says what to do when there is no file.
func (c *credentialsFlag) explain(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return &hintedError{err, "parlor key create --credentials " + c.Credentials + " makes the file, with a key."}
	}
	return err
}

// maxSession is the longest that AWS gives a temporary key.
const maxSession = 36 * time.Hour

type keyCreateCommand struct {
	credentialsFlag
	outputFlag `kong:"set='outputs=export, table, json',set='output=export'"`

	Name    string        `name:"name" placeholder:"NAME" help:"The user's name. Default: the access key."`
	Account string        `name:"account" placeholder:"ID" help:"The key's account, 12 digits. Default: the server's --account."`
	Policy  string        `name:"policy" placeholder:"FILE" help:"IAM policy document of what the key may do. Default: everything in its account."`
	Session time.Duration `name:"session" placeholder:"DURATION" help:"Make a temporary key with a session token, for so long, at most 36h."`
}

// Help is called by kong.
func (k *keyCreateCommand) Help() string {
	return `An example:

    eval "$(parlor key create --credentials FILE --name ops)"

What is printed is the only copy of the secret outside the file: as lines for a shell (export), or as credential_process in AWS's configuration wants it (json).`
}

// Validate is called by kong.
func (k *keyCreateCommand) Validate(line *kong.Context) error {
	if k.Session < 0 || k.Session > maxSession || k.Session > 0 && k.Session < time.Second || k.Session == 0 && onLine(line, "session") {
		return fmt.Errorf("--session: %s is not between 1s and 36h", k.Session)
	}
	if k.Name != "" && !credentials.ValidName(k.Name) {
		return fmt.Errorf("--name: %q is not 1 to 64 letters, digits and _+=,.@-", k.Name)
	}
	return k.credentialsFlag.Validate()
}

// Run adds a key to the file and prints it. Only the key goes to standard output:
// eval "$(parlor key create …)" takes it up.
func (k *keyCreateCommand) Run(line *kong.Context) error {
	key := credentials.New(k.Session)
	key.Name, key.Account = k.Name, k.Account
	if key.Name == "" {
		key.Name = key.AccessKey
	}
	if k.Policy != "" {
		name, err := beside(k.Credentials, k.Policy)
		if err != nil {
			return err
		}
		key.PolicyFile = name
	}
	if err := credentials.Add(k.Credentials, key); err != nil {
		return fmt.Errorf("add the key to %s, which stays as it was:\n%w", k.Credentials, err)
	}
	fmt.Fprintf(line.Stderr, "Added %s to %s.\n", key.Name, k.Credentials)
	switch k.Output {
	case outputJSON:
		return printJSON(line.Stdout, forSDK(key))
	case outputTable:
		t := newTable(line.Stdout)
		list(key, time.Now()).rows(t)
		t.row("Secret", key.Secret)
		if key.Temporary() {
			t.row("Session token", key.SessionToken)
		}
		return t.end()
	}
	_, err := fmt.Fprintf(line.Stdout, "export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n", key.AccessKey, key.Secret)
	if err != nil {
		return err
	}
	if key.Temporary() {
		_, err = fmt.Fprintf(line.Stdout, "export AWS_SESSION_TOKEN=%s\n", key.SessionToken)
	} else { // the token of another key would go with this one
		_, err = fmt.Fprintln(line.Stdout, "unset AWS_SESSION_TOKEN")
	}
	return err
}

// beside is a file as the credentials file names it: relative to that, unless it was
// given as an absolute path.
func beside(credentialsFile, file string) (string, error) {
	if filepath.IsAbs(file) {
		return file, nil
	}
	from, err := filepath.Abs(filepath.Dir(credentialsFile))
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	return filepath.Rel(from, to)
}

// sdkCredentials is what AWS's SDKs read from a credential_process.
type sdkCredentials struct {
	Version         int
	AccessKeyID     string `json:"AccessKeyId"`
	SecretAccessKey string
	SessionToken    string     `json:",omitempty"`
	Expiration      *time.Time `json:",omitempty"`
	AccountID       string     `json:"AccountId,omitempty"`
}

func forSDK(k credentials.Key) sdkCredentials {
	p := sdkCredentials{Version: 1, AccessKeyID: k.AccessKey, SecretAccessKey: k.Secret, SessionToken: k.SessionToken, AccountID: k.Account}
	if k.Temporary() {
		p.Expiration = &k.Expires
	}
	return p
}

// listed is a key without its secrets.
type listed struct {
	Name      string     `json:"name"`
	AccessKey string     `json:"accessKeyId"`
	Account   string     `json:"account,omitempty"`
	Policy    string     `json:"policy,omitempty"`
	Expires   *time.Time `json:"expires,omitempty"`
	State     string     `json:"state"` // active, disabled or expired
}

func list(key credentials.Key, now time.Time) listed {
	l := listed{Name: key.Name, AccessKey: key.AccessKey, Account: key.Account, Policy: key.PolicyFile, State: "active"}
	if key.Temporary() {
		l.Expires = &key.Expires
	}
	switch {
	case key.Disabled:
		l.State = "disabled"
	case key.Expired(now):
		l.State = "expired"
	}
	return l
}

func (l listed) expires() string {
	if l.Expires == nil {
		return "never"
	}
	return timeText(l.Expires)
}

func (l listed) rows(t *table) {
	t.row("Name", l.Name)
	t.row("Access key", l.AccessKey)
	t.row("Account", or(l.Account, "default"))
	t.row("Policy", or(l.Policy, "everything"))
	t.row("Expires", l.expires())
	t.row("State", l.State)
}

type keyListCommand struct {
	credentialsFlag
	outputFlag `kong:"set='outputs=table, json',set='output=table'"`
}

func (k *keyListCommand) Run(line *kong.Context) error {
	set, err := k.load()
	if err != nil {
		return err
	}
	keys := []listed{}
	for _, key := range set.Keys() {
		keys = append(keys, list(key, time.Now()))
	}
	if k.Output == outputJSON {
		return printJSON(line.Stdout, keys)
	}
	t := newTable(line.Stdout, "NAME", "ACCESS KEY", "ACCOUNT", "POLICY", "EXPIRES", "STATE")
	for _, l := range keys {
		t.row(l.Name, l.AccessKey, or(l.Account, "default"), or(l.Policy, "everything"), l.expires(), l.State)
	}
	return t.end()
}

type keyShowCommand struct {
	credentialsFlag
	outputFlag `kong:"set='outputs=table, json',set='output=table'"`

	Key string `arg:"" name:"key" help:"The key's name, or its access key."`
}

func (k *keyShowCommand) Run(line *kong.Context) error {
	set, err := k.load()
	if err != nil {
		return err
	}
	for _, key := range set.Keys() {
		if k.Key != key.Name && k.Key != key.AccessKey {
			continue
		}
		l := list(key, time.Now())
		if k.Output == outputJSON {
			return printJSON(line.Stdout, l)
		}
		t := newTable(line.Stdout)
		l.rows(t)
		return t.end()
	}
	return unknownKey(k.Key, k.Credentials, credentials.ErrUnknownKey)
}

// unknownKey is the error for a key that the file does not have.
func unknownKey(key, file string, err error) error {
	return &hintedError{
		fmt.Errorf("%s in %s: %w", key, file, err),
		"parlor key list --credentials " + file + " shows the keys that there are.",
	}
}

type keyDisableCommand struct {
	credentialsFlag

	Key string `arg:"" name:"key" help:"The key's name, or its access key."`
}

func (k *keyDisableCommand) Run(line *kong.Context) error {
	err := credentials.Disable(k.Credentials, k.Key)
	switch {
	case errors.Is(err, credentials.ErrUnknownKey):
		return unknownKey(k.Key, k.Credentials, err)
	case errors.Is(err, os.ErrNotExist):
		return k.explain(err)
	case err != nil:
		return fmt.Errorf("disable %s in %s, which stays as it was:\n%w", k.Key, k.Credentials, err)
	}
	_, err = fmt.Fprintf(line.Stderr, "%s in %s is disabled.\n", k.Key, k.Credentials)
	return err
}
