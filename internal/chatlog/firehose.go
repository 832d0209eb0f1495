package chatlog

import (
	"context"
	"fmt"
	"slices"

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
	// maxBatchBytes is less than the 4 MiB of a call, of which base64 takes a third more.
	maxBatchBytes = 3_000_000
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
		failed, why := failedRecords(records[:len(batch)], out)
		if len(failed) > 0 {
			return slices.Concat(failed, records[len(batch):]), fmt.Errorf("%d of %d records were not taken: %s", len(failed), len(batch), why)
		}
		records = records[len(batch):]
	}
	return nil, nil
}

// failedRecords are those of a batch that were not taken, and why the last of them. An answer
// that contradicts itself counts for none: rather twice than never.
func failedRecords(batch []*record, out *firehose.PutRecordBatchOutput) (failed []*record, why string) {
	if len(out.RequestResponses) == len(batch) {
		for i, answer := range out.RequestResponses {
			if code := aws.ToString(answer.ErrorCode); code != "" {
				failed = append(failed, batch[i])
				why = code
			}
		}
	}
	if len(failed) == 0 && aws.ToInt32(out.FailedPutCount) > 0 {
		return batch, "which of them was not said"
	}
	return failed, why
}
