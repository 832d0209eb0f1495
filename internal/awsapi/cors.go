package awsapi

import "net/http"

// Any page may call the API, as on AWS: what protects it is the signature, and no
// browser adds that by itself.
//
// IVS-MODEL: cors
const (
	allowedMethods = "GET, POST, DELETE, OPTIONS"
	// allowedHeaders are the model's own and those of a signed request. They are
	// named, since "*" does not cover Authorization.
	allowedHeaders = "Authorization, Content-Type, X-Amz-Content-Sha256, X-Amz-Date, X-Amz-Security-Token, " +
		"X-Amz-User-Agent, X-Api-Key, amz-sdk-invocation-id, amz-sdk-request"
	exposedHeaders = "x-amzn-errortype, x-amzn-requestid, x-amzn-errormessage, x-amzn-trace-id, x-amz-apigw-id, date"
	// maxAge is seconds: two days, more than any browser keeps a preflight.
	maxAge = "172800"
)

// preflight answers a browser that asks whether it may call.
func preflight(header http.Header) {
	header.Set("Access-Control-Allow-Methods", allowedMethods)
	header.Set("Access-Control-Allow-Headers", allowedHeaders)
	header.Set("Access-Control-Max-Age", maxAge)
}
