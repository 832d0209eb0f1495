package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/chat"
)

// maxNamed is how many rooms of one name an error lists.
const maxNamed = 10

// findRoom returns the ARN of a room that a person named: the ARN as it is, or that of
// the only room of a name. An error says which rooms there are, if it is several.
func findRoom(ctx context.Context, api *ivschat.Client, room string) (arn string, err error) {
	if strings.HasPrefix(room, "arn:") {
		if parsed, err := chat.ParseARN(room); err != nil || parsed.Kind != chat.KindRoom {
			return "", fmt.Errorf("%q is not the ARN of a room, like arn:aws:ivschat:us-east-1:000000000000:room/AbCdEfGhIjKl", room)
		}
		return room, nil
	}
	region := api.Options().Region
	if room == "" {
		return "", &hintedError{fmt.Errorf("the room has no name"), "Is a variable empty? " + roomsHint(region)}
	}
	var arns []string
	pages := ivschat.NewListRoomsPaginator(api, &ivschat.ListRoomsInput{Name: &room})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return "", err
		}
		for _, r := range page.Rooms {
			if aws.ToString(r.Name) == room {
				arns = append(arns, aws.ToString(r.Arn))
			}
		}
	}
	switch len(arns) {
	case 1:
		return arns[0], nil
	case 0:
		return "", &hintedError{fmt.Errorf("no room has the name %q", room), roomsHint(region)}
	}
	var list strings.Builder
	for _, arn := range arns[:min(len(arns), maxNamed)] {
		list.WriteString("\n  " + arn)
	}
	if more := len(arns) - maxNamed; more > 0 {
		fmt.Fprintf(&list, "\n  and %d more", more)
	}
	return "", &hintedError{fmt.Errorf("%d rooms have the name %q:%s", len(arns), room, &list), "Name the room by its ARN."}
}

// inRegionOf returns a client of the region that an ARN names, whatever the region of
// the variables and files.
func inRegionOf(api *ivschat.Client, arn string) *ivschat.Client {
	parsed, err := chat.ParseARN(arn)
	if err != nil || parsed.Region == api.Options().Region {
		return api
	}
	return ivschat.New(api.Options(), func(o *ivschat.Options) { o.Region = parsed.Region })
}

// room finds a room that a person named, and returns its ARN and a client of its region.
func (e *endpointFlag) room(ctx context.Context, room string) (*ivschat.Client, string, error) {
	api, err := e.client(ctx)
	if err != nil {
		return nil, "", err
	}
	arn, err := findRoom(ctx, api, room)
	if err != nil {
		return nil, "", err
	}
	return inRegionOf(api, arn), arn, nil
}
