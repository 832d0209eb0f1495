package chatlogtest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Limits of CloudWatch Logs and Firehose, as documented.
//
// AWS: AmazonCloudWatchLogs PutLogEvents, Firehose PutRecordBatch
const (
	maxEvents       = 10_000
	maxEventsBytes  = 1_048_576 // with eventOverhead for each
	eventOverhead   = 26
	maxEventBytes   = 256 << 10 // the older, stricter limit
	maxBatchRecords = 500
	maxBatchBytes   = 4 << 20 // taken strictly: of the whole request
	maxRecordBytes  = 1000 << 10
)

// CreateLogGroup makes a log group. There is one name space for all regions.
func (a *AWS) CreateLogGroup(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.groups[name] = true
}

// Streams are the names of a log group's streams.
func (a *AWS) Streams(group string) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var names []string
	for name := range a.events {
		if stream, ok := strings.CutPrefix(name, group+"\x00"); ok {
			names = append(names, stream)
		}
	}
	slices.Sort(names)
	return names
}

// Events are those of a log stream, in the order in which they were put.
func (a *AWS) Events(group, stream string) []Event {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.events[group+"\x00"+stream])
}

func (a *AWS) serveLogs(w http.ResponseWriter, r *request) {
	var in struct {
		LogGroupName, LogStreamName string
		LogEvents                   []struct {
			Timestamp *int64
			Message   string
		}
	}
	if err := json.Unmarshal(r.body, &in); err != nil {
		a.Logs.refuse(w, http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.groups[in.LogGroupName] {
		a.Logs.refuse(w, http.StatusBadRequest, "ResourceNotFoundException", "The specified log group does not exist.")
		return
	}
	stream := in.LogGroupName + "\x00" + in.LogStreamName
	events, exists := a.events[stream]
	switch r.operation {
	case "CreateLogStream":
		if exists {
			a.Logs.refuse(w, http.StatusBadRequest, "ResourceAlreadyExistsException", "The specified log stream already exists")
			return
		}
		a.events[stream] = nil
		w.WriteHeader(http.StatusOK)
		return
	case "PutLogEvents":
	default:
		a.Logs.refuse(w, http.StatusBadRequest, "UnknownOperationException", r.operation)
		return
	}
	if !exists {
		a.Logs.refuse(w, http.StatusBadRequest, "ResourceNotFoundException", "The specified log stream does not exist.")
		return
	}
	size, fault := 0, ""
	for i, e := range in.LogEvents {
		size += len(e.Message) + eventOverhead
		switch {
		case e.Timestamp == nil || e.Message == "":
			fault = "an event without a timestamp or message"
		case len(e.Message)+eventOverhead > maxEventBytes:
			fault = fmt.Sprintf("Log event too large: %d bytes exceeds limit of %d", len(e.Message)+eventOverhead, maxEventBytes)
		case i > 0 && *e.Timestamp < *in.LogEvents[i-1].Timestamp:
			fault = "Log events in a single PutLogEvents request must be in chronological order."
		case *e.Timestamp-*in.LogEvents[0].Timestamp > (24 * time.Hour).Milliseconds():
			fault = "The batch of log events in a single PutLogEvents request cannot span more than 24 hours."
		}
	}
	switch {
	case len(in.LogEvents) == 0:
		fault = "Member must have length greater than or equal to 1"
	case len(in.LogEvents) > maxEvents:
		fault = fmt.Sprintf("Member must have length less than or equal to %d", maxEvents)
	case size > maxEventsBytes:
		fault = fmt.Sprintf("Upload too large: %d bytes exceeds limit of %d", size, maxEventsBytes)
	}
	if fault != "" {
		a.Logs.refuse(w, http.StatusBadRequest, "InvalidParameterException", fault)
		return
	}
	// What is too old ends before one index, what is too new begins with another.
	from, to := 0, len(in.LogEvents)
	now := time.Now()
	for from < to && *in.LogEvents[from].Timestamp < now.Add(-14*24*time.Hour).UnixMilli() {
		from++
	}
	for to > from && *in.LogEvents[to-1].Timestamp > now.Add(2*time.Hour).UnixMilli() {
		to--
	}
	for _, e := range in.LogEvents[from:to] {
		events = append(events, Event{Message: e.Message, Timestamp: *e.Timestamp, By: r.by, Region: r.region})
	}
	a.events[stream] = events
	rejected := map[string]int{}
	if from > 0 {
		rejected["tooOldLogEventEndIndex"] = from
	}
	if to < len(in.LogEvents) {
		rejected["tooNewLogEventStartIndex"] = to
	}
	out := map[string]any{"nextSequenceToken": "it is ignored"}
	if len(rejected) > 0 {
		out["rejectedLogEventsInfo"] = rejected
	}
	reply(w, http.StatusOK, out)
}
