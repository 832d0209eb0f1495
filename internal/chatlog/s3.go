package chatlog

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// bucket is an S3 bucket: for each room and batch one object, gzip, a record a line.
type bucket struct {
	aws *clients
	to  destination
}

func (b *bucket) put(ctx context.Context, records []*record) (rest []*record, err error) {
	client, err := b.aws.s3(b.to.Region)
	if err != nil {
		return records, err
	}
	return putParts(records, byRoom(records), func(part []*record) ([]*record, error) {
		object, err := compress(part)
		if err == nil {
			_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &b.to.Name, Key: aws.String(objectKey(b.to, part)),
				Body: bytes.NewReader(object), ContentType: aws.String("application/gzip")})
		}
		return part, err
	})
}

// byRoom parts records by room, and at the end of an hour, which is in the key.
func byRoom(records []*record) [][]*record {
	var rooms [][]*record
	index := map[string]int{}
	for _, r := range records {
		key := r.room + r.time().Format("2006010215")
		i, ok := index[key]
		if !ok {
			i = len(rooms)
			index[key] = i
			rooms = append(rooms, nil)
		}
		rooms[i] = append(rooms[i], r)
	}
	return rooms
}

// objectKey is the key of an object. A batch that is put again has the same one.
//
// IVS: chat-logging (S3)
func objectKey(to destination, records []*record) string {
	first := records[0].time()
	sum := sha256.New()
	for _, r := range records {
		fmt.Fprintf(sum, "%d %d\n", r.accepted, len(r.frame))
		sum.Write(r.frame)
	}
	return fmt.Sprintf("AWSLogs/%s/IVSChatLogs/1.0/%s/room_%s/%s/%s_IVSChatLogs_1.0_%s_room_%s_%s_%s.log.gz", to.Account, to.Region, records[0].room,
		first.Format("2006/01/02/15"), to.Account, to.Region, records[0].room, first.Format("200601021504"), hex.EncodeToString(sum.Sum(nil)[:8]))
}

// compress makes the lines of records an object.
func compress(records []*record) ([]byte, error) {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	for _, r := range records {
		if _, err := z.Write(append(r.line(), '\n')); err != nil {
			return nil, err
		}
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}
