package chatlog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"parlor/internal/chat"
)

// directory stands for a destination, with the layout of the real one:
//
//	s3/BUCKET/KEY               an object
//	cloudwatchlogs/GROUP/STREAM a file of lines
//	firehose/STREAM.log         a file of lines
type directory struct {
	root string
	to   destination
}

func (d *directory) put(_ context.Context, records []*record) (rest []*record, err error) {
	name := filepath.Base(d.to.Name) // the names that the API lets through have no separator, but groups may
	switch d.to.Kind {
	case chat.DestinationS3:
		for i, room := range byRoom(records) {
			object, err := compress(room)
			if err == nil {
				err = writeObject(filepath.Join(d.root, "s3", name, filepath.FromSlash(objectKey(d.to, room))), object)
			}
			if err != nil {
				return records, fmt.Errorf("object %d of a batch: %w", i, err)
			}
		}
		return nil, nil
	case chat.DestinationCloudWatchLogs:
		for _, room := range byRoomAlone(records) {
			stream := filepath.Join(d.root, "cloudwatchlogs", escapePath(d.to.Name), "aws", "IVSChatLogs", "1.0", "room_"+room[0].room)
			if err := appendLines(stream, room); err != nil {
				return records, err
			}
		}
		return nil, nil
	default:
		if err := appendLines(filepath.Join(d.root, "firehose", name+".log"), records); err != nil {
			return records, err
		}
		return nil, nil
	}
}

// escapePath makes a log group's name, which may have slashes, one that stays below
// its directory.
func escapePath(name string) string { return filepath.Join("/", name)[1:] }

func writeObject(name string, object []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	return replaceFile(name, object)
}

func appendLines(name string, records []*record) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return err
	}
	var b []byte
	for _, r := range records {
		b = append(append(b, r.line()...), '\n')
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if _, err := file.Write(b); err != nil {
		file.Truncate(info.Size()) // no line in part; they are all written again
		return err
	}
	return nil
}
