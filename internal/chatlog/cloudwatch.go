package chatlog

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// logGroup is a log group of CloudWatch Logs: a stream for each room.
type logGroup struct {
	aws *clients
	to  destination
}

// Limits of PutLogEvents.
//
// AWS: AmazonCloudWatchLogs PutLogEvents
const (
	maxEvents     = 10_000
	maxEventBytes = 1 << 20 // of a call, each event counting eventOverhead more
	eventOverhead = 26
	maxEventSpan  = 24 * time.Hour
	tooNew        = time.Hour // ahead; half of what is taken
)

func (g *logGroup) put(ctx context.Context, records []*record) (rest []*record, err error) {
	client, err := g.aws.logs(g.to.Region)
	if err != nil {
		return records, err
	}
	var refused atomic.Int64
	rest, err = putParts(records, byRoomAlone(records), func(room []*record) ([]*record, error) {
		for len(room) > 0 {
			events := eventBatch(room, time.Now())
			n, err := g.putEvents(ctx, client, room[0].room, events)
			refused.Add(int64(n))
			if err != nil {
				return room, err // the rest of the room waits for these
			}
			room = room[len(events):]
		}
		return nil, nil
	})
	if n := int(refused.Load()); n > 0 {
		return rest, &unwanted{count: n, err: fmt.Errorf("%d events are too old or too new", n), failed: err}
	}
	return rest, err
}

// byRoomAlone parts records by room.
func byRoomAlone(records []*record) [][]*record {
	var rooms [][]*record
	index := map[string]int{}
	for _, r := range records {
		i, ok := index[r.room]
		if !ok {
			i = len(rooms)
			index[r.room] = i
			rooms = append(rooms, nil)
		}
		rooms[i] = append(rooms[i], r)
	}
	return rooms
}

// eventBatch is as many records as one call takes. Times must ascend; numbers win over
// them. A time that is tooNew is that of a clock that was ahead: it is taken for now, since
// it is refused from two hours on, with all that is behind it in the call.
func eventBatch(records []*record, now time.Time) []types.InputLogEvent {
	events := make([]types.InputLogEvent, 0, min(len(records), maxEvents))
	bytes, first, last := 0, int64(0), int64(0)
	for i, r := range records {
		line := r.line()
		bytes += len(line) + eventOverhead
		at := r.time()
		if at.Sub(now) > tooNew {
			at = now
		}
		last = max(last, at.UnixMilli())
		if i == 0 {
			first = last
		}
		if i == maxEvents || i > 0 && bytes > maxEventBytes || last-first >= maxEventSpan.Milliseconds() {
			break
		}
		events = append(events, types.InputLogEvent{Message: aws.String(string(line)), Timestamp: aws.Int64(last)})
	}
	return events
}

// putEvents puts one batch, and reports how many events were refused for their age.
func (g *logGroup) putEvents(ctx context.Context, client *cloudwatchlogs.Client, room string, events []types.InputLogEvent) (refused int, err error) {
	stream := "aws/IVSChatLogs/1.0/room_" + room
	in := &cloudwatchlogs.PutLogEventsInput{LogGroupName: &g.to.Name, LogStreamName: &stream, LogEvents: events}
	out, err := client.PutLogEvents(ctx, in)
	var notFound *types.ResourceNotFoundException
	if errors.As(err, &notFound) {
		_, created := client.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &g.to.Name, LogStreamName: &stream})
		var exists *types.ResourceAlreadyExistsException
		if created != nil && !errors.As(created, &exists) {
			return 0, created
		}
		out, err = client.PutLogEvents(ctx, in)
	}
	if err != nil {
		return 0, err
	}
	if info := out.RejectedLogEventsInfo; info != nil {
		// Each is an index: too old and expired ones are before it, too new ones from it on.
		old := max(aws.ToInt32(info.TooOldLogEventEndIndex), aws.ToInt32(info.ExpiredLogEventEndIndex))
		refused = int(old)
		if info.TooNewLogEventStartIndex != nil {
			refused += len(events) - int(*info.TooNewLogEventStartIndex)
		}
	}
	return refused, nil
}
