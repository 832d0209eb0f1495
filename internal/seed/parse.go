package seed

import (
	"cmp"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"parlor/internal/awsapi"
	"parlor/internal/chat"
	"parlor/internal/config"
)

const form = "the file is not a mapping such as\n  rooms:\n    - name: lobby"

// parse returns what a file declares, or its faults with the line in Where.
func parse(text []byte, scope chat.Scope) (Seed, config.Faults) {
	body, faults := config.Document(text)
	if body == nil {
		return Seed{}, faults
	}
	r := &reader{scope: scope, lines: map[chat.ARN]string{}, named: map[string]chat.ARN{}, webhooks: map[string]string{}}
	r.file(body)
	slices.SortStableFunc(r.faults, func(a, b config.Fault) int { // their lines are numbers
		return cmp.Or(cmp.Compare(len(a.Where), len(b.Where)), cmp.Compare(a.Where, b.Where))
	})
	return Seed{Rooms: r.rooms, LoggingConfigurations: r.logs, Webhooks: r.webhooks}, r.faults
}

// reader reads one file.
type reader struct {
	scope  chat.Scope // of entries that do not say theirs
	faults config.Faults

	rooms    []Room
	logs     []LoggingConfiguration
	webhooks map[string]string
	lines    map[chat.ARN]string // of the entries
	named    map[string]chat.ARN // logging configurations, by scope and name or id
}

func (r *reader) fault(at ast.Node, format string, args ...any) {
	r.faultOn(config.Line(at), format, args...)
}

func (r *reader) faultOn(line, format string, args ...any) {
	r.faults = append(r.faults, config.Fault{Where: line, Message: fmt.Sprintf(format, args...)})
}

// members are the values of a mapping by key.
type members struct {
	line   string
	keys   map[string]ast.Node
	values map[string]ast.Node
}

// read returns the members of a mapping, of which it refuses those that are not known.
func (r *reader) read(node ast.Node, what string, known ...string) (m members, ok bool) {
	entries, ok := config.Mapping(node)
	if !ok {
		r.fault(node, "%s: want a mapping of %s", what, strings.Join(known, ", "))
		return m, false
	}
	m = members{line: config.Line(node), keys: map[string]ast.Node{}, values: map[string]ast.Node{}}
	for i, entry := range entries {
		key := entry.Key.GetToken().Value
		if i == 0 {
			m.line = config.Line(entry.Key)
		}
		_, null := entry.Value.(*ast.NullNode)
		switch {
		case known != nil && !slices.Contains(known, key):
			if near := config.Closest(key, known); near != "" {
				r.fault(entry.Key, "%s: unknown key %q; did you mean %q?", what, key, near)
			} else {
				r.fault(entry.Key, "%s: unknown key %q; there are %s", what, key, strings.Join(known, ", "))
			}
		case m.keys[key] != nil:
			r.fault(entry.Key, "%s: %s is set twice", what, key)
		case null:
			r.fault(entry.Key, "%s: %s has no value", what, key)
		default:
			m.keys[key], m.values[key] = entry.Key, entry.Value
		}
	}
	return m, true
}

// text is a single value as it stands in the file: an account of twelve zeros is not the
// number 0.
func (r *reader) text(m members, key string) (string, bool) {
	node := m.values[key]
	if node == nil {
		return "", false
	}
	if !config.IsScalar(node) {
		r.fault(m.keys[key], "%s: want a single value", key)
		delete(m.values, key) // said once
		return "", false
	}
	return node.GetToken().Value, true
}

// list is the elements of a sequence.
func (r *reader) list(m members, key string) []ast.Node {
	node := m.values[key]
	if node == nil {
		return nil
	}
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		r.fault(m.keys[key], "%s: want a list", key)
		return nil
	}
	return sequence.Values
}

func (r *reader) file(body ast.Node) {
	if _, ok := config.Mapping(body); !ok {
		r.fault(body, "%s", form)
		return
	}
	m, _ := r.read(body, "the file", "region", "account", "loggingConfigurations", "rooms")
	r.scope = r.scopeOf(m)
	for _, node := range r.list(m, "loggingConfigurations") {
		r.loggingConfiguration(node)
	}
	for _, node := range r.list(m, "rooms") {
		r.room(node)
	}
}

// scopeOf is where an entry is.
func (r *reader) scopeOf(m members) chat.Scope {
	scope := r.scope
	if region, ok := r.text(m, "region"); ok {
		if !chat.ValidRegion(region) {
			r.fault(m.keys["region"], "region: %q is not a region such as us-east-1", region)
		}
		scope.Region = region
	}
	if account, ok := r.text(m, "account"); ok {
		if !chat.ValidAccount(account) {
			r.fault(m.keys["account"], "account: %q is not an account id of 12 digits", account)
		}
		scope.Account = account
	}
	return scope
}

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9-]{1,32}$`)

// arn is what an entry is known by.
func (r *reader) arn(m members, kind chat.Kind) (chat.ARN, bool) {
	arn := chat.ARN{Scope: r.scopeOf(m), Kind: kind}
	name, _ := r.text(m, "name")
	id, hasID := r.text(m, "id")
	text, hasARN := r.text(m, "arn")
	switch {
	case hasARN:
		parsed, err := chat.ParseARN(text)
		if err != nil || parsed.Kind != kind || !chat.ValidAccount(parsed.Account) {
			r.fault(m.keys["arn"], "arn: %q is not an ARN such as arn:aws:ivschat:us-east-1:000000000000:%s/lobby", text, kind)
			return arn, false
		}
		for _, other := range []string{"id", "region", "account"} {
			if m.keys[other] != nil {
				r.fault(m.keys[other], "%s: the arn says it already", other)
				return arn, false
			}
		}
		arn = parsed
	case hasID:
		if arn.ID = id; !idPattern.MatchString(id) {
			r.fault(m.keys["id"], "id: the value must match %s", idPattern)
			return arn, false
		}
	case name != "":
		arn.ID = derivedID(arn, name)
	default:
		r.faultOn(m.line, "the entry has none of name, id and arn, one of which says which it is")
		return arn, false
	}
	if line, taken := r.lines[arn]; taken {
		r.faultOn(m.line, "the entry of line %s has the ARN %s, too: give them different ids", line, arn)
		return arn, false
	}
	r.lines[arn] = m.line
	return arn, true
}

// derivedID is the id of an entry that has a name alone: twelve letters and digits, as all
// ids are, and always the same.
func derivedID(arn chat.ARN, name string) string {
	sum := sha256.Sum256([]byte(string(arn.Kind) + "\x00" + arn.Region + "\x00" + arn.Account + "\x00" + name))
	text := "00000000000" + new(big.Int).SetBytes(sum[:16]).Text(62)
	return text[len(text)-12:]
}

func (r *reader) loggingConfiguration(node ast.Node) {
	m, ok := r.read(node, "a logging configuration", "name", "id", "arn", "region", "account", "destinationConfiguration", "tags")
	if !ok {
		return
	}
	arn, ok := r.arn(m, chat.KindLoggingConfiguration)
	in := r.common(m)
	lines := r.linesOf(m)
	if to := m.values["destinationConfiguration"]; to != nil {
		kinds := map[string]string{"s3": "bucketName", "cloudWatchLogs": "logGroupName", "firehose": "deliveryStreamName"}
		of, mapping := r.read(to, "destinationConfiguration", slices.Sorted(maps.Keys(kinds))...)
		if mapping && len(of.keys) != 1 {
			r.fault(m.keys["destinationConfiguration"], "destinationConfiguration: want one of s3, cloudWatchLogs, firehose")
			return
		}
		for kind := range of.keys {
			target, _ := r.read(of.values[kind], kind, kinds[kind])
			inner := map[string]any{}
			if name, given := r.text(target, kinds[kind]); given {
				inner[kinds[kind]] = name
			}
			lines[kinds[kind]] = target.line
			in["destinationConfiguration"] = map[string]any{kind: inner}
		}
		if in["destinationConfiguration"] == nil {
			return // its fault was said
		}
	}
	spec, err := awsapi.LoggingConfigurationSpec(encode(in))
	if !r.accept(m, lines, err) || !ok {
		return
	}
	r.logs = append(r.logs, LoggingConfiguration{arn, spec})
	r.named[key(arn.Scope, arn.ID)] = arn
	r.named[key(arn.Scope, arn.String())] = arn
	if name, named := in["name"].(string); named {
		r.named[key(arn.Scope, name)] = arn
	}
}

func key(scope chat.Scope, name string) string {
	return scope.Region + "\x00" + scope.Account + "\x00" + name
}

func (r *reader) room(node ast.Node) {
	m, ok := r.read(node, "a room", "name", "id", "arn", "region", "account", "maximumMessageRatePerSecond", "maximumMessageLength",
		"messageReviewHandler", "loggingConfigurationIdentifiers", "tags")
	if !ok {
		return
	}
	arn, ok := r.arn(m, chat.KindRoom)
	in := r.common(m)
	lines := r.linesOf(m)
	for _, name := range []string{"maximumMessageRatePerSecond", "maximumMessageLength"} {
		text, given := r.text(m, name)
		n, err := strconv.ParseInt(text, 10, 32)
		switch {
		case !given:
		case err != nil:
			r.fault(m.keys[name], "%s: %q is not a whole number", name, text)
		default:
			in[name] = n
		}
	}
	if handler := m.values["messageReviewHandler"]; handler != nil {
		in["messageReviewHandler"] = r.handler(handler, arn, lines)
	}
	if m.keys["loggingConfigurationIdentifiers"] != nil {
		in["loggingConfigurationIdentifiers"] = r.references(m, arn.Scope)
	}
	spec, err := awsapi.RoomSpec(encode(in))
	if r.accept(m, lines, err) && ok {
		r.rooms = append(r.rooms, Room{arn, spec})
	}
}

// handler reads a message review handler. One that has a webhook needs no ARN of its own.
func (r *reader) handler(node ast.Node, room chat.ARN, lines map[string]string) map[string]any {
	in := map[string]any{}
	m, ok := r.read(node, "messageReviewHandler", "uri", "fallbackResult", "webhook")
	if !ok {
		return in
	}
	maps.Copy(lines, r.linesOf(m))
	for _, name := range []string{"uri", "fallbackResult"} {
		if text, given := r.text(m, name); given {
			in[name] = text
		}
	}
	to, given := r.text(m, "webhook")
	if !given {
		return in
	}
	if in["uri"] == nil {
		in["uri"] = "arn:aws:lambda:" + room.Region + ":" + room.Account + ":function:parlor-seed-" + room.ID
	}
	uri := in["uri"].(string)
	u, err := url.Parse(to)
	switch {
	case err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil:
		r.fault(m.keys["webhook"], "webhook: the value is not the URL of an HTTP endpoint, without a user, such as http://127.0.0.1:9000/review")
	case r.webhooks[uri] != "" && r.webhooks[uri] != to:
		r.fault(m.keys["webhook"], "webhook: another one stands for the same uri")
	default:
		r.webhooks[uri] = to
	}
	return in
}

// references are the ARNs of the logging configurations that a room names: those of the
// file, by ARN, name or id. Others would not be there after a reset.
func (r *reader) references(m members, scope chat.Scope) []string {
	const member = "loggingConfigurationIdentifiers"
	arns := []string{}
	for _, node := range r.list(m, member) {
		if !config.IsScalar(node) {
			r.fault(node, "%s: want a list of single values", member)
			continue
		}
		text := node.GetToken().Value
		arn, found := r.named[key(scope, text)]
		if !found {
			r.fault(node, "%s: the file has no logging configuration %q in the room's region and account", member, text)
			continue
		}
		arns = append(arns, arn.String())
	}
	return arns
}

// common are the members that everything has, as the API takes them.
func (r *reader) common(m members) map[string]any {
	in := map[string]any{}
	if name, ok := r.text(m, "name"); ok {
		in["name"] = name
	}
	if node := m.values["tags"]; node != nil {
		tags := map[string]string{}
		if _, mapping := config.Mapping(node); !mapping {
			r.fault(m.keys["tags"], "tags: want a mapping of keys to values")
			return in
		}
		of, _ := r.read(node, "tags")
		for key := range of.keys {
			if value, ok := r.text(of, key); ok {
				tags[key] = value
			}
		}
		in["tags"] = tags
	}
	return in
}

// linesOf are the lines of an entry's members.
func (r *reader) linesOf(m members) map[string]string {
	lines := map[string]string{}
	for key, node := range m.keys {
		lines[key] = config.Line(node)
	}
	return lines
}

// accept reports whether the API would take an entry, and says where it would not.
func (r *reader) accept(m members, lines map[string]string, err error) bool {
	if err == nil {
		return true
	}
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		r.faultOn(m.line, "%v", err)
		return false
	}
	for _, f := range e.Fields {
		line, known := lines[f.Name]
		if !known {
			line = m.line
		}
		_, why, _ := strings.Cut(f.Message, "constraints: ")
		r.faultOn(line, "%s: %s", f.Name, why)
	}
	return false
}

func encode(in map[string]any) []byte {
	text, err := json.Marshal(in)
	if err != nil {
		panic("seed: " + err.Error()) // strings and numbers always can be
	}
	return text
}
