package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"
	"github.com/aws/smithy-go"
)

// maxOwnAnswer bounds what is read of an answer, in bytes.
const maxOwnAnswer = 1 << 20

// callOwn calls an operation of Parlor's own, which the SDK does not have. Its errors are
// of the SDK's form.
func callOwn(ctx context.Context, o ivschat.Options, endpoint, operation string, in, out any) error {
	fail := func(err error) error {
		return &smithy.OperationError{ServiceID: "parlor", OperationName: operation, Err: err}
	}
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	at, err := url.JoinPath(endpoint, "parlor", operation)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	key, err := o.Credentials.Retrieve(ctx)
	if err != nil {
		return fmt.Errorf("find an access key: %w", err)
	}
	err = v4.NewSigner().SignHTTP(ctx, key, request, fmt.Sprintf("%x", sha256.Sum256(body)), "ivschat", o.Region, time.Now())
	if err != nil {
		return fmt.Errorf("sign the request: %w", err)
	}
	response, err := o.HTTPClient.Do(request)
	if err != nil {
		return fail(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, maxOwnAnswer))
	if err != nil {
		return fail(err)
	}
	if response.StatusCode != http.StatusOK {
		name, _, _ := strings.Cut(response.Header.Get("X-Amzn-ErrorType"), ":")
		var said struct {
			Message string `json:"message"`
		}
		if err := json.Unmarshal(text, &said); err == nil && name != "" {
			return fail(&smithy.GenericAPIError{Code: name, Message: said.Message})
		}
		return &hintedError{errors.New(notOurs(operation, response.StatusCode)), foreignHint}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return &hintedError{errors.New(notOurs(operation, response.StatusCode)), foreignHint}
	}
	return nil
}
