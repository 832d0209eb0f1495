package awsapi

import (
	"context"

	"parlor/internal/chat"
)

// The operations on the people and messages in a room.

// IVS: CreateChatToken
func createChatToken(ctx context.Context, c *call, in *createChatTokenInput) (*createChatTokenOutput, error) {
	var f faults
	spec := chat.TokenSpec{
		Room:            f.arn("roomIdentifier", in.RoomIdentifier, chat.KindRoom),
		UserID:          f.text("userId", in.UserID, 1, chat.MaxUserIDLength),
		Capabilities:    f.capabilities("capabilities", in.Capabilities),
		SessionDuration: f.session("sessionDurationInMinutes", in.SessionDurationInMinutes),
		Attributes:      in.Attributes,
	}
	f.attributes("attributes", in.Attributes)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.noted.UserID, c.noted.Capabilities = spec.UserID, spec.Capabilities
	if err := c.may(ctx, spec.Room, tagging{}); err != nil {
		return nil, err
	}
	token, claims, err := c.CreateChatToken(ctx, spec)
	return &createChatTokenOutput{
		Token:                 token,
		TokenExpirationTime:   seconds(claims.TokenExpires),
		SessionExpirationTime: seconds(claims.SessionExpires),
	}, err
}

// IVS: SendEvent
func sendEvent(ctx context.Context, c *call, in *sendEventInput) (*idOutput, error) {
	var f faults
	room := f.arn("roomIdentifier", in.RoomIdentifier, chat.KindRoom)
	name := f.eventName("eventName", in.EventName)
	f.attributes("attributes", in.Attributes)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.noted.EventName = name
	if err := c.may(ctx, room, tagging{}); err != nil {
		return nil, err
	}
	id, err := c.SendEvent(ctx, room, name, in.Attributes)
	return &idOutput{ID: id}, err
}

// IVS: DeleteMessage
func deleteMessage(ctx context.Context, c *call, in *deleteMessageInput) (*idOutput, error) {
	var f faults
	room := f.arn("roomIdentifier", in.RoomIdentifier, chat.KindRoom)
	message := f.matching("id", in.ID, messageIDPattern)
	reason := f.optionalText("reason", in.Reason, 1, chat.MaxReasonLength)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.noted.MessageID = message
	if err := c.may(ctx, room, tagging{}); err != nil {
		return nil, err
	}
	id, err := c.DeleteMessage(ctx, room, message, reason)
	return &idOutput{ID: id}, err
}

// IVS: DisconnectUser
func disconnectUser(ctx context.Context, c *call, in *disconnectUserInput) (*emptyOutput, error) {
	var f faults
	room := f.arn("roomIdentifier", in.RoomIdentifier, chat.KindRoom)
	user := f.text("userId", in.UserID, 1, chat.MaxUserIDLength)
	reason := f.optionalText("reason", in.Reason, 1, chat.MaxReasonLength)
	if err := f.err(); err != nil {
		return nil, err
	}
	c.noted.UserID = user
	if err := c.may(ctx, room, tagging{}); err != nil {
		return nil, err
	}
	return &emptyOutput{}, c.DisconnectUser(ctx, chat.Actor{Principal: c.caller.arn()}, room, user, reason)
}
