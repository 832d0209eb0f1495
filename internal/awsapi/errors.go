package awsapi

import (
	"encoding/json"
	"errors"
	"net/http"

	"parlor/internal/chat"
)

// Texts that do not depend on the request.
const (
	internalText         = "The request failed because of an internal error. Try again later."
	missingTokenText     = "Missing Authentication Token"
	unknownOperationText = "The requested operation does not exist."
	tooLargeText         = "The request body is too large."
	mediaTypeText        = "The Content-Type must be application/json."
	unreadableText       = "The request body could not be read."
	queryText            = "The query string is not valid."
)

// apiError is an error as it goes out.
type apiError struct {
	Status int    `json:"-"`
	Name   string `json:"__type"` // also the header x-amzn-ErrorType: old SDKs read one, new ones the other

	Message      string            `json:"message"`
	ResourceID   string            `json:"resourceId,omitempty"`
	ResourceType string            `json:"resourceType,omitempty"`
	Limit        *int              `json:"limit,omitempty"`
	Reason       string            `json:"reason,omitempty"`
	FieldList    []validationField `json:"fieldList,omitempty"`
}

// IVS-MODEL: ValidationExceptionField
type validationField struct {
	Name    string `json:"name"`
	Message string `json:"message"`
}

func (e *apiError) Error() string { return e.Name + ": " + e.Message }

// IVS-MODEL: ValidationExceptionReason
const (
	reasonField = "FIELD_VALIDATION_FAILED"
	reasonOther = "OTHER"
)

// resourceTypeRoom is the only value that the model has, whatever the resource is.
//
// IVS-MODEL: ResourceType
const resourceTypeRoom = "ROOM"

// serialization is the error for a request that cannot be read, whatever it asks.
func serialization(message string) *apiError {
	return &apiError{Status: http.StatusBadRequest, Name: "SerializationException", Message: message}
}

func errInternal() *apiError {
	return &apiError{Status: http.StatusInternalServerError, Name: "InternalServerException", Message: internalText}
}

// codes is how each code of the core goes out. A code that is not here, Internal
// among them, is a 500.
var codes = map[chat.Code]struct {
	status   int
	name     string
	resource bool // the model has resourceId and resourceType
	limit    bool // the model has limit
}{
	chat.BadRequest:      {http.StatusBadRequest, "ValidationException", false, false},
	chat.TooLarge:        {http.StatusBadRequest, "ValidationException", false, false},
	chat.NotAcceptable:   {http.StatusBadRequest, "ValidationException", false, false},
	chat.Unauthorized:    {http.StatusForbidden, "AccessDeniedException", false, false},
	chat.Forbidden:       {http.StatusForbidden, "AccessDeniedException", false, false},
	chat.NotFound:        {http.StatusNotFound, "ResourceNotFoundException", true, false},
	chat.Conflict:        {http.StatusConflict, "ConflictException", true, false},
	chat.QuotaExceeded:   {http.StatusPaymentRequired, "ServiceQuotaExceededException", true, true},
	chat.TooManyRequests: {http.StatusTooManyRequests, "ThrottlingException", true, true},
}

// render turns any error into what the client may know of it. cause is what it may
// not, for the log.
func render(err error) (out *apiError, cause error) {
	if e, ok := errors.AsType[*apiError](err); ok {
		return e, nil
	}
	e, ok := errors.AsType[*chat.Error](err)
	if !ok {
		return errInternal(), err
	}
	code, ok := codes[e.Code]
	if !ok {
		return errInternal(), err
	}
	out = &apiError{Status: code.status, Name: code.name, Message: e.Message}
	if code.resource {
		out.ResourceID, out.ResourceType = e.Resource.ID, resourceTypeRoom
	}
	if code.limit {
		out.Limit = &e.Limit
	}
	if code.status == http.StatusBadRequest {
		out.Reason = reasonOther
		for _, f := range e.Fields {
			out.Reason = reasonField
			out.FieldList = append(out.FieldList, validationField(f))
		}
	}
	return out, nil
}

// body is the error as JSON.
func (e *apiError) body() []byte {
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // only strings and numbers: Marshal cannot fail
	}
	return b
}
