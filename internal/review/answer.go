package review

import (
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"

	"parlor/internal/chat"
)

var errTooLong = fmt.Errorf("the answer has more than %d bytes", maxAnswer)

// parse reads a handler's answer. Names and values are those of the documentation to
// the letter, as the service has it: what is accepted here is accepted there.
//
// IVS: chat-message-review-handler
func parse(answer []byte) (chat.Verdict, error) {
	var v chat.Verdict
	if !utf8.Valid(answer) {
		return v, errors.New("the answer is not UTF-8")
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(answer, &members); err != nil || members == nil {
		return v, errors.New("the answer is not a JSON object")
	}
	var result string
	if err := member(members, "ReviewResult", &result); err != nil {
		return v, err
	}
	switch result {
	case "ALLOW":
		v.Allow = true
	case "DENY":
	default:
		return v, errors.New("ReviewResult is neither ALLOW nor DENY")
	}
	if err := member(members, "Content", &v.Content); err != nil {
		return v, err
	}
	var attributes map[string]*string
	if err := member(members, "Attributes", &attributes); err != nil {
		return v, err
	}
	if attributes != nil {
		v.Attributes = make(map[string]string, len(attributes))
	}
	for name, value := range attributes {
		if value == nil {
			return v, errors.New("a value in Attributes is null")
		}
		v.Attributes[name] = *value
	}
	return v, nil
}

// member decodes a member, which may be absent.
func member(members map[string]json.RawMessage, name string, v any) error {
	text, ok := members[name]
	if !ok {
		return nil
	}
	if err := json.Unmarshal(text, v); err != nil {
		return fmt.Errorf("%s has the wrong type", name) // the error would quote the answer
	}
	return nil
}
