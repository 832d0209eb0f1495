package chatlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"sync"

	"parlor/internal/chat"
)

// directory stands for a destination, with the layout of the real one:
//
//	s3/BUCKET/KEY                              an object
//	cloudwatchlogs/ACCOUNT/REGION/GROUP/STREAM a file of lines
//	firehose/ACCOUNT/REGION/STREAM.log         a file of lines
//
// Names of buckets are everybody's, those of groups and streams an account's in a
// region. In a group's name / is %2F.
type directory struct {
	root string
	to   destination
}

func (d *directory) put(_ context.Context, records []*record) (rest []*record, err error) {
	name := fileName(d.to.Name)
	switch d.to.Kind {
	case chat.DestinationS3:
		return putParts(records, byRoom(records), func(part []*record) ([]*record, error) {
			object, err := compress(part)
			if err == nil {
				err = writeObject(filepath.Join(d.root, "s3", name, filepath.FromSlash(objectKey(d.to, part))), object)
			}
			return part, err
		})
	case chat.DestinationCloudWatchLogs:
		return putParts(records, byRoomAlone(records), func(room []*record) ([]*record, error) {
			group := filepath.Join(d.root, "cloudwatchlogs", d.to.Account, d.to.Region, name)
			return room, appendLines(filepath.Join(group, "aws", "IVSChatLogs", "1.0", "room_"+room[0].room), room)
		})
	default:
		return putParts(records, [][]*record{records}, func(all []*record) ([]*record, error) {
			return all, appendLines(filepath.Join(d.root, "firehose", d.to.Account, d.to.Region, name+".log"), all)
		})
	}
}

const maxFileName = 255 - len(".log")

// fileName makes a destination's name one of a single file, and another name another.
func fileName(name string) string {
	if name == "." || name == ".." {
		return "%2E" + name[1:]
	}
	escaped := url.PathEscape(name)
	if len(escaped) > maxFileName { // those of log groups have up to 512 characters
		sum := sha256.Sum256([]byte(name))
		escaped = escaped[:maxFileName-17] + "~" + hex.EncodeToString(sum[:8])
	}
	return escaped
}

func writeObject(name string, object []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	// Two configurations may write the same object at once.
	file, err := os.CreateTemp(filepath.Dir(name), ".new-*")
	if err != nil {
		return err
	}
	_, err = file.Write(object)
	if err = errors.Join(err, file.Sync(), file.Close()); err == nil {
		err = os.Rename(file.Name(), name)
	}
	if err != nil {
		os.Remove(file.Name())
	}
	return err
}

// appending is held to look at a file's end and append there: two configurations may
// name the same file.
var appending sync.Mutex

func appendLines(name string, records []*record) error {
	if len(records) == 0 {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	var b []byte
	for _, r := range records {
		b = append(append(b, r.line()...), '\n')
	}
	appending.Lock()
	defer appending.Unlock()
	file, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	end, err := cutTorn(file)
	if err != nil {
		return fmt.Errorf("repair %s: %w", name, err)
	}
	if _, err := file.Write(b); err != nil {
		file.Truncate(end) // no line in part; they are all written again
		return err
	}
	return file.Sync()
}

// cutTorn cuts off what a killed process left of a line, and returns where the file ends then.
func cutTorn(file *os.File) (end int64, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, err
	}
	end = info.Size()
	tail := make([]byte, 4096)
	for at := end; at > 0; {
		from := max(at-int64(len(tail)), 0)
		part := tail[:at-from]
		if _, err := file.ReadAt(part, from); err != nil && err != io.EOF {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			at = from + int64(i) + 1
			if at == end {
				return end, nil
			}
			return at, file.Truncate(at)
		}
		at = from
	}
	if end == 0 {
		return 0, nil
	}
	return 0, file.Truncate(0)
}
