package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/alecthomas/kong"

	"parlor/internal/credentials"
)

type keyCommand struct {
	New     keyNewCommand     `cmd:"" help:"Make an access key, add it to the credentials file and print it, once."`
	List    keyListCommand    `cmd:"" help:"List the access keys of the credentials file, without their secrets."`
	Disable keyDisableCommand `cmd:"" help:"Let an access key in no longer. Running servers notice within a second."`
}

// credentialsFlag is the file that the verbs of parlor key work on. It is that of the
// server, by the same flag and variable.
type credentialsFlag struct {
	Credentials string `name:"credentials" env:"PARLOR_CREDENTIALS" required:"" placeholder:"FILE" help:"The credentials file."`
}

// maxSession is the longest that AWS gives a temporary key.
const maxSession = 36 * time.Hour

type keyNewCommand struct {
	credentialsFlag

	Name    string        `name:"name" placeholder:"NAME" help:"The user's name. Default: the access key."`
	Account string        `name:"account" placeholder:"ID" help:"The key's account, 12 digits. Default: the server's --account."`
	Policy  string        `name:"policy" placeholder:"FILE" help:"IAM policy document of what the key may do. Default: everything in its account."`
	Session time.Duration `name:"session" placeholder:"DURATION" help:"Make a temporary key with a session token, for so long, at most 36h."`
	Output  string        `name:"output" enum:"export,json" default:"export" help:"export: lines for a shell; json: as AWS's credential_process has it."`
}

// Validate is called by kong.
func (k *keyNewCommand) Validate(line *kong.Context) error {
	if k.Session < 0 || k.Session > maxSession || k.Session > 0 && k.Session < time.Second || k.Session == 0 && onLine(line, "session") {
		return fmt.Errorf("--session: %s is not between 1s and 36h", k.Session)
	}
	return nil
}

// Run adds a key to the file and prints it. Only the key goes to standard output:
// eval "$(parlor key new …)" takes it up.
func (k *keyNewCommand) Run(line *kong.Context) error {
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
	if k.Output == "json" {
		return printJSON(line.Stdout, forSDK(key))
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

type keyListCommand struct {
	credentialsFlag

	Output string `name:"output" enum:"table,json" default:"table" help:"table or json."`
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

func (k *keyListCommand) Run(line *kong.Context) error {
	set, err := credentials.Load(k.Credentials, "")
	if err != nil {
		return err
	}
	now := time.Now()
	keys := []listed{}
	for _, key := range set.Keys() {
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
		keys = append(keys, l)
	}
	if k.Output == "json" {
		return printJSON(line.Stdout, keys)
	}
	table := tabwriter.NewWriter(line.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tACCESS KEY\tACCOUNT\tPOLICY\tEXPIRES\tSTATE")
	for _, l := range keys {
		expires := "never"
		if l.Expires != nil {
			expires = l.Expires.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", l.Name, l.AccessKey, or(l.Account, "default"), or(l.Policy, "everything"), expires, l.State)
	}
	return table.Flush()
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

type keyDisableCommand struct {
	credentialsFlag

	Key string `arg:"" name:"key" help:"The key's name, or its access key."`
}

func (k *keyDisableCommand) Run(line *kong.Context) error {
	err := credentials.Disable(k.Credentials, k.Key)
	switch {
	case errors.Is(err, credentials.ErrUnknownKey):
		return &hintedError{
			fmt.Errorf("%s in %s: %w", k.Key, k.Credentials, err),
			"parlor key list --credentials " + k.Credentials + " shows the keys that there are.",
		}
	case errors.Is(err, os.ErrNotExist):
		return err
	case err != nil:
		return fmt.Errorf("disable %s in %s, which stays as it was:\n%w", k.Key, k.Credentials, err)
	}
	_, err = fmt.Fprintf(line.Stderr, "%s in %s is disabled.\n", k.Key, k.Credentials)
	return err
}

func printJSON(w io.Writer, v any) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(v)
}
