package chatlog

import (
	"encoding/json"
	"time"

	"parlor/internal/chat"
)

// record is one thing that was shown in a room.
type record struct {
	room     string // its id
	accepted int64  // Unix nanoseconds
	kind     chat.PublicationKind
	frame    []byte // what clients got

	at    chat.Position // zero when it is not known
	place place         // in the spool

	intended, marked uint64 // when, by the clock of the queue; 0: not yet
}

func (r *record) time() time.Time { return time.Unix(0, r.accepted).UTC() }

// size is what the record counts for in a batch.
func (r *record) size() int { return len(r.frame) + 128 }

// line is the record as every destination has it, without a line break.
//
// IVS: chat-logging (event payload)
func (r *record) line() []byte {
	kind := "MESSAGE"
	if r.kind != chat.PublishMessage {
		kind = "EVENT"
	}
	b := make([]byte, 0, len(r.frame)+128)
	b = append(b, `{"event_timestamp":"`...)
	b = r.time().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","type":"`...)
	b = append(b, kind...)
	b = append(b, `","payload":`...)
	b = append(b, r.frame...)
	return append(b, `,"version":"1.0"}`...)
}

// destination is what a spool is for. It is in the spool as a file, so that the spool
// can be shipped when the logging configuration is no more, and by another node.
type destination struct {
	Configuration string               `json:"loggingConfiguration"` // its ARN
	Account       string               `json:"account"`
	Region        string               `json:"region"`
	Kind          chat.DestinationKind `json:"kind"`
	Name          string               `json:"name"`
}

const destinationFile = "destination.json"

func (d *destination) marshal() ([]byte, error) { return json.MarshalIndent(d, "", "  ") }
