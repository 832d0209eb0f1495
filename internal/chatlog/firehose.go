package chatlog

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/firehose"
	"github.com/aws/aws-sdk-go-v2/service/firehose/types"
)

// deliveryStream is a stream of Amazon Data Firehose.
type deliveryStream struct {
	aws *clients
	to  destination
}

// Limits of PutRecordBatch.
//
// AWS: Firehose PutRecordBatch
const (
	maxBatchRecords = 500
	maxBatchBytes   = 4 << 20
)

func (d *deliveryStream) put(ctx context.Context, records []*record) (rest []*record, err error) {
	client, err := d.aws.firehose(d.to.Region)
	if err != nil {
		return records, err
	}
	for len(records) > 0 {
		var batch []types.Record
		bytes := 0
		for _, r := range records {
			line := append(r.line(), '\n')
			if bytes += len(line); len(batch) == maxBatchRecords || len(batch) > 0 && bytes > maxBatchBytes {
				break
			}
			batch = append(batch, types.Record{Data: line})
		}
		out, err := client.PutRecordBatch(ctx, &firehose.PutRecordBatchInput{DeliveryStreamName: &d.to.Name, Records: batch})
		if err != nil {
			return records, err
		}
		// What was not taken goes first the next time; what follows waits for it, so
		// that a room's records keep their order as far as the service lets them.
		if aws.ToInt32(out.FailedPutCount) > 0 {
			why := ""
			for i, answer := range out.RequestResponses {
				if answer.ErrorCode != nil {
					rest = append(rest, records[i])
					why = *answer.ErrorCode
				}
			}
			rest = append(rest, records[len(batch):]...)
			return rest, fmt.Errorf("%d of %d records were not taken: %w", *out.FailedPutCount, len(batch), errors.New(why))
		}
		records = records[len(batch):]
	}
	return nil, nil
}
