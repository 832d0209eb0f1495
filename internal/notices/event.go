package notices

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"parlor/internal/chat"
)

const groupSession = "session"

// kinds of events by the action that makes them. Tags are of a room only if the
// resource is one.
var kinds = map[string]string{
	"CreateRoom":              "room.created",
	"UpdateRoom":              "room.updated",
	"TagResource":             "room.updated",
	"UntagResource":           "room.updated",
	"DeleteRoom":              "room.deleted",
	chat.NoticeSessionStarted: "session.started",
	chat.NoticeSessionEnded:   "session.ended",
	"DeleteMessage":           "moderation.message_deleted",
	chat.ActionDeleteMessage:  "moderation.message_deleted",
	"DisconnectUser":          "moderation.user_disconnected",
	chat.ActionDisconnectUser: "moderation.user_disconnected",
	chat.NoticeBanUser:        "moderation.user_banned",
	"UnbanUser":               "moderation.user_unbanned",
	"MuteUser":                "moderation.user_muted",
	"UnmuteUser":              "moderation.user_unmuted",
	"PurgeUser":               "moderation.user_purged",
}

// kindOf is the kind of event that webhooks get for a notice, or "".
func kindOf(n *chat.Notice) string {
	if n.Refused != "" || n.Resource.Kind != chat.KindRoom {
		return ""
	}
	return kinds[n.Action]
}

func groupOf(kind string) string {
	group, _, _ := strings.Cut(kind, ".")
	return group
}

func ofSession(action string) bool {
	return action == chat.NoticeSessionStarted || action == chat.NoticeSessionEnded
}

// actor is who did something.
type actor struct {
	Principal string `json:"principal,omitempty"` // ARN
	UserID    string `json:"userId,omitempty"`
}

// event is what a webhook gets. Names are added to it, none is taken away.
type event struct {
	ID        string    `json:"id"` // the same each time it is sent
	Type      string    `json:"type"`
	Time      time.Time `json:"time"`
	Node      string    `json:"node"`
	Region    string    `json:"region"`
	Account   string    `json:"account"`
	Room      string    `json:"roomArn"`
	By        *actor    `json:"by,omitempty"`
	UserID    string    `json:"userId,omitempty"`
	MessageID string    `json:"messageId,omitempty"`
	Expire    time.Time `json:"expireTime,omitzero"` // of a ban or mute
	Session   string    `json:"sessionId,omitempty"`
	Cause     string    `json:"cause,omitempty"`
	Seconds   *float64  `json:"seconds,omitempty"` // that the session lasted
}

func eventOf(kind, node string, n *chat.Notice) *event {
	e := &event{
		ID: n.ID, Type: kind, Time: n.Time.UTC(), Node: node, Region: n.Scope.Region, Account: n.Scope.Account, Room: n.Resource.String(),
		UserID: n.UserID, MessageID: n.MessageID, Expire: n.Until, Session: n.Session, Cause: n.Cause,
	}
	if n.By != (chat.Actor{}) {
		e.By = &actor{Principal: n.By.Principal, UserID: n.By.UserID}
	}
	if n.Action == chat.NoticeSessionEnded {
		seconds := n.Lasted.Seconds()
		e.Seconds = &seconds
	}
	return e
}

// record is a line of the audit log. Names are added to it, none is taken away.
type record struct {
	ID           string     `json:"id"`
	Time         time.Time  `json:"time"`
	Action       string     `json:"action"`
	By           actor      `json:"by"`
	From         netip.Addr `json:"from,omitzero"`
	Region       string     `json:"region"`
	Account      string     `json:"account"`
	Resource     string     `json:"resource,omitempty"`
	UserID       string     `json:"userId,omitempty"`
	Capabilities []string   `json:"capabilities,omitempty"`
	MessageID    string     `json:"messageId,omitempty"`
	EventName    string     `json:"eventName,omitempty"`
	RequestID    string     `json:"requestId,omitempty"`
	Expire       time.Time  `json:"expireTime,omitzero"` // of a ban or mute
	Outcome      string     `json:"outcome"`             // done, or the name of the error
}

func recordOf(n *chat.Notice) *record {
	r := &record{
		ID: n.ID, Time: n.Time.UTC(), Action: n.Action, By: actor{n.By.Principal, n.By.UserID}, From: n.From, Region: n.Scope.Region, Account: n.Scope.Account,
		UserID: n.UserID, MessageID: n.MessageID, EventName: n.EventName, Expire: n.Until, RequestID: n.RequestID, Outcome: "done",
	}
	if n.Resource != (chat.ARN{}) {
		r.Resource = n.Resource.String()
	}
	if n.Refused != "" {
		r.Outcome = n.Refused
	}
	for name, bit := range chat.CapabilityNames {
		if n.Capabilities&bit != 0 {
			r.Capabilities = append(r.Capabilities, name)
		}
	}
	slices.Sort(r.Capabilities)
	return r
}
