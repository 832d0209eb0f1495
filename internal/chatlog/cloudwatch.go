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
)

func (g *logGroup) put(ctx context.Context, records []*record) (rest []*record, err error) {
	client, err := g.aws.logs(g.to.Region)
	if err != nil {
		return records, err
	}
	var refused atomic.Int64
	rest, err = putParts(records, byRoomAlone(records), func(room []*record) ([]*record, error) {
		for len(room) > 0 {
			batch := eventBatch(room)
			n, err := g.putEvents(ctx, client, batch)
			refused.Add(int64(n))
			if err != nil {
				return room, err // the rest of the room waits for these
			}
			room = room[len(batch):]
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

// eventBatch is as many records as one call takes.
func eventBatch(records []*record) []*record {
	bytes := 0
	for i, r := range records {
		bytes += len(r.line()) + eventOverhead
		if i == maxEvents || i > 0 && bytes > maxEventBytes || r.time().Sub(records[0].time()) >= maxEventSpan {
			return records[:i]
		}
	}
	return records
}

// putEvents puts one batch, and reports how many events were refused for their age.
func (g *logGroup) putEvents(ctx context.Context, client *cloudwatchlogs.Client, records []*record) (refused int, err error) {
	// Times must ascend; numbers win over them.
	events := make([]types.InputLogEvent, len(records))
	last := int64(0)
	for i, r := range records {
		last = max(last, r.accepted/int64(time.Millisecond))
		events[i] = types.InputLogEvent{Message: aws.String(string(r.line())), Timestamp: aws.Int64(last)}
	}
	stream := "aws/IVSChatLogs/1.0/room_" + records[0].room
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
