package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ivschat"

	"parlor/internal/chat"
)

// maxNamed is how many rooms an error lists, when it cannot be said which is meant.
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
	return "", &hintedError{fmt.Errorf("%d rooms have the name %q:%s", len(arns), room, someOf(arns, false)), "Name the room by its ARN."}
}

// onlyRoom returns the ARN of the only room that there is in the client's region, and
// what a person calls it.
func onlyRoom(ctx context.Context, api *ivschat.Client) (arn, name string, err error) {
	out, err := api.ListRooms(ctx, &ivschat.ListRoomsInput{})
	if err != nil {
		return "", "", err
	}
	region := api.Options().Region
	switch {
	case len(out.Rooms) == 0:
		return "", "", &hintedError{fmt.Errorf("there is no room in %s", region), "parlor room create --name lobby makes one; AWS_REGION names another region."}
	case len(out.Rooms) > 1:
		var rooms []string
		for _, r := range out.Rooms {
			rooms = append(rooms, strings.TrimSpace(aws.ToString(r.Arn)+"  "+aws.ToString(r.Name)))
		}
		return "", "", &hintedError{fmt.Errorf("there are several rooms in %s:%s", region, someOf(rooms, out.NextToken != nil)), "Say which one, by its name or ARN."}
	}
	only := out.Rooms[0]
	return aws.ToString(only.Arn), or(aws.ToString(only.Name), aws.ToString(only.Id)), nil
}

// someOf is a list for an error, a line for each of the first; more says that there are
// others beside.
func someOf(rooms []string, more bool) string {
	var list strings.Builder
	for _, room := range rooms[:min(len(rooms), maxNamed)] {
		list.WriteString("\n  " + room)
	}
	switch over := len(rooms) - maxNamed; {
	case more:
		list.WriteString("\n  and more")
	case over > 0:
		fmt.Fprintf(&list, "\n  and %d more", over)
	}
	return list.String()
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
