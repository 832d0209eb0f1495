package chatlogtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// CreateDeliveryStream makes a Firehose stream.
func (a *AWS) CreateDeliveryStream(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.streams[name] = []Record{}
}

// Records are those of a Firehose stream, in the order in which they were put.
func (a *AWS) Records(stream string) []Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.streams[stream])
}

type putRecordBatch struct {
	DeliveryStreamName string
	Records            []struct{ Data []byte }
}

type recordAnswer struct {
	RecordID     string `json:"RecordId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

func (a *AWS) serveFirehose(w http.ResponseWriter, r *request) {
	a.putRecords(w, r.operation, r.body, func(int) bool { return false }, r.by, r.region)
}

// Refusing is a fault of Firehose: of each batch it takes what refused does not say.
func (a *AWS) Refusing(refused func(index int) bool) Fault {
	return func(w http.ResponseWriter, operation string, body []byte) bool {
		a.putRecords(w, operation, body, refused, "", "")
		return true
	}
}

func (a *AWS) putRecords(w http.ResponseWriter, operation string, body []byte, refused func(int) bool, by, region string) {
	var in putRecordBatch
	if err := json.Unmarshal(body, &in); err != nil {
		a.Firehose.refuse(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	records, exists := a.streams[in.DeliveryStreamName]
	fault := ""
	switch {
	case operation != "PutRecordBatch":
		fault = "not known: " + operation
	case !exists:
		a.Firehose.refuse(w, http.StatusBadRequest, "ResourceNotFoundException", "Firehose "+in.DeliveryStreamName+" not found.")
		return
	case len(in.Records) == 0 || len(in.Records) > maxBatchRecords:
		fault = fmt.Sprintf("%d records", len(in.Records))
	case len(body) > maxBatchBytes:
		fault = fmt.Sprintf("%d bytes in all", len(body))
	}
	for _, record := range in.Records {
		if len(record.Data) > maxRecordBytes {
			fault = fmt.Sprintf("a record of %d bytes", len(record.Data))
		}
	}
	if fault != "" {
		a.Firehose.refuse(w, http.StatusBadRequest, "InvalidArgumentException", fault)
		return
	}
	failed := 0
	answers := make([]recordAnswer, len(in.Records))
	for i, record := range in.Records {
		if refused(i) {
			failed++
			answers[i] = recordAnswer{ErrorCode: "ServiceUnavailableException", ErrorMessage: "Slow down."}
			continue
		}
		records = append(records, Record{Data: record.Data, By: by, Region: region})
		answers[i] = recordAnswer{RecordID: fmt.Sprint(len(records))}
	}
	a.streams[in.DeliveryStreamName] = records
	reply(w, http.StatusOK, map[string]any{"FailedPutCount": failed, "Encrypted": false, "RequestResponses": answers})
}
