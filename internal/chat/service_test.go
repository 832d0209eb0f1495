package chat

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	lambda1 = "arn:aws:lambda:us-west-2:123456789012:function:one"
	lambda2 = "arn:aws:lambda:us-west-2:123456789012:function:two"
)

// code is the code of the *Error in err, -1 for none.
func code(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return -1
}

func ptr[T any](v T) *T { return &v }

func TestCreateRoom(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		time.Sleep(1234567 * time.Nanosecond)
		lc := w.loggingConfiguration(t)
		foreign := lc.ARN
		foreign.Region = "eu-west-1"
		missing := ARN{Scope: testScope, Kind: KindLoggingConfiguration, ID: "missing"}
		now := time.Date(2000, 1, 1, 0, 0, 0, 1234000, time.UTC)
		for _, test := range []struct {
			name string
			spec RoomSpec
			want Room
			err  Code
		}{
			{"defaults", RoomSpec{},
				Room{MaximumMessageRatePerSecond: 10, MaximumMessageLength: 500, Tags: map[string]string{}}, -1},
			{"everything given", RoomSpec{
				Name: "n", MaximumMessageRatePerSecond: 1, MaximumMessageLength: 2,
				Handler:               &HandlerChange{URI: ptr(lambda1), Fallback: ptr(FallbackDeny)},
				LoggingConfigurations: []ARN{lc.ARN}, Tags: map[string]string{"a": "b"},
			}, Room{
				Name: "n", MaximumMessageRatePerSecond: 1, MaximumMessageLength: 2,
				Handler:               &ReviewHandler{URI: lambda1, Fallback: FallbackDeny},
				LoggingConfigurations: []ARN{lc.ARN}, Tags: map[string]string{"a": "b"},
			}, -1},
			{"a handler falls back to ALLOW", RoomSpec{Handler: &HandlerChange{URI: ptr(lambda1)}},
				Room{MaximumMessageRatePerSecond: 10, MaximumMessageLength: 500, Tags: map[string]string{},
					Handler: &ReviewHandler{URI: lambda1, Fallback: FallbackAllow}}, -1},
			{"a logging configuration that does not exist", RoomSpec{LoggingConfigurations: []ARN{lc.ARN, missing}}, Room{}, NotFound},
			{"a logging configuration of another region", RoomSpec{LoggingConfigurations: []ARN{foreign}}, Room{}, NotFound},
		} {
			before := len(w.store.rooms)
			got, err := w.service.CreateRoom(t.Context(), testScope, test.spec)
			if code(err) != test.err {
				t.Errorf("%s: got error %v, want code %d", test.name, err, test.err)
				continue
			}
			if err != nil {
				if got := len(w.store.rooms); got != before {
					t.Errorf("%s: stored all the same", test.name)
				}
				continue
			}
			if !ValidID(got.ARN.ID) || got.ARN.Scope != testScope || got.ARN.Kind != KindRoom {
				t.Errorf("%s: got ARN %v", test.name, got.ARN)
			}
			test.want.ARN, test.want.CreateTime, test.want.UpdateTime = got.ARN, now, now
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("%s (-want +got):\n%s", test.name, diff)
			}
			stored, err := w.service.GetRoom(t.Context(), got.ARN)
			if diff := cmp.Diff(got, stored); err != nil || diff != "" {
				t.Errorf("%s: GetRoom: %v\n%s", test.name, err, diff)
			}
		}
		if got := w.broker.taken(); len(got) != 0 {
			t.Errorf("published: got %d, want nothing", len(got))
		}
	})
}

func TestHandlerChange(t *testing.T) {
	old := &ReviewHandler{URI: lambda1, Fallback: FallbackDeny}
	for _, test := range []struct {
		name   string
		change *HandlerChange
		old    *ReviewHandler
		want   *ReviewHandler
	}{
		{"nothing said, none before", nil, nil, nil},
		{"nothing said", nil, old, old},
		{"empty, none before", &HandlerChange{}, nil, &ReviewHandler{Fallback: FallbackAllow}},
		{"empty", &HandlerChange{}, old, old},
		{"URI alone keeps the fallback", &HandlerChange{URI: ptr(lambda2)}, old, &ReviewHandler{URI: lambda2, Fallback: FallbackDeny}},
		{"fallback alone keeps the URI", &HandlerChange{Fallback: ptr(FallbackAllow)}, old, &ReviewHandler{URI: lambda1, Fallback: FallbackAllow}},
		{"fallback alone, none before", &HandlerChange{Fallback: ptr(FallbackDeny)}, nil, &ReviewHandler{Fallback: FallbackDeny}},
		{"empty URI detaches", &HandlerChange{URI: ptr("")}, old, &ReviewHandler{Fallback: FallbackDeny}},
		{"both", &HandlerChange{URI: ptr(lambda2), Fallback: ptr(FallbackAllow)}, old, &ReviewHandler{URI: lambda2, Fallback: FallbackAllow}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.change.apply(test.old)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if *old != (ReviewHandler{URI: lambda1, Fallback: FallbackDeny}) {
				t.Error("the old value changed")
			}
		})
	}
}

func TestUpdateRoom(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		lc1, lc2 := w.loggingConfiguration(t), w.loggingConfiguration(t)
		foreign := lc1.ARN
		foreign.Account = "210987654321"
		missing := ARN{Scope: testScope, Kind: KindLoggingConfiguration, ID: "missing"}
		spec := RoomSpec{Name: "old", LoggingConfigurations: []ARN{lc1.ARN}, Tags: map[string]string{"a": "b"},
			Handler: &HandlerChange{URI: ptr(lambda1), Fallback: ptr(FallbackDeny)}}
		for _, test := range []struct {
			name   string
			change RoomChange
			want   func(*Room)
			err    Code
		}{
			{"nothing", RoomChange{}, func(*Room) {}, -1},
			{"name", RoomChange{Name: ptr("new")}, func(r *Room) { r.Name = "new" }, -1},
			{"name taken away", RoomChange{Name: ptr("")}, func(r *Room) { r.Name = "" }, -1},
			{"rate", RoomChange{MaximumMessageRatePerSecond: ptr(100)}, func(r *Room) { r.MaximumMessageRatePerSecond = 100 }, -1},
			{"length", RoomChange{MaximumMessageLength: ptr(1)}, func(r *Room) { r.MaximumMessageLength = 1 }, -1},
			{"handler", RoomChange{Handler: &HandlerChange{URI: ptr(lambda2)}}, func(r *Room) { r.Handler = &ReviewHandler{URI: lambda2, Fallback: FallbackDeny} }, -1},
			{"logging replaced", RoomChange{LoggingConfigurations: &[]ARN{lc2.ARN}}, func(r *Room) { r.LoggingConfigurations = []ARN{lc2.ARN} }, -1},
			{"logging taken away", RoomChange{LoggingConfigurations: &[]ARN{}}, func(r *Room) { r.LoggingConfigurations = []ARN{} }, -1},
			{"logging that does not exist", RoomChange{LoggingConfigurations: &[]ARN{missing}}, nil, NotFound},
			{"logging of another account", RoomChange{LoggingConfigurations: &[]ARN{foreign}}, nil, NotFound},
		} {
			room := w.room(t, spec)
			got, err := w.service.UpdateRoom(t.Context(), room.ARN, test.change)
			if code(err) != test.err {
				t.Errorf("%s: got error %v, want code %d", test.name, err, test.err)
			}
			want := room
			if test.err < 0 {
				test.want(&want)
				// Virtual time stood still, yet the room moves to the head of its list.
				want.UpdateTime = room.UpdateTime.Add(time.Microsecond)
				if pub := w.broker.one(t); pub.Kind != PublishRoomChanged || pub.Room != room.ARN || pub.Frame != nil {
					t.Errorf("%s: published %+v", test.name, pub)
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s (-want +got):\n%s", test.name, diff)
				}
			} else if got := w.broker.taken(); len(got) != 0 {
				t.Errorf("%s: published though refused", test.name)
			}
			if diff := cmp.Diff(want, w.store.rooms[room.ARN]); diff != "" {
				t.Errorf("%s, stored (-want +got):\n%s", test.name, diff)
			}
		}
		if _, err := w.service.UpdateRoom(t.Context(), ARN{Scope: testScope, Kind: KindRoom, ID: "missing"}, RoomChange{}); code(err) != NotFound {
			t.Errorf("a room that does not exist: got %v, want NotFound", err)
		}
	})
}

// TestRoomChangesArePublishedThoughTheCallerLeft: the change is stored, so every node
// must hear of it.
func TestRoomChangesArePublishedThoughTheCallerLeft(t *testing.T) {
	w := newWorld()
	w.broker.deliver = append(w.broker.deliver, func(*Publication) {})
	room := w.room(t, RoomSpec{})
	service := NewService(ServiceConfig{Store: w.store, Broker: canceledBroker{w.broker}, TokenLifetime: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := service.UpdateRoom(ctx, room.ARN, RoomChange{}); err != nil {
		t.Errorf("UpdateRoom: got %v", err)
	}
	if err := service.DeleteRoom(ctx, room.ARN); err != nil {
		t.Errorf("DeleteRoom: got %v", err)
	}
}

// canceledBroker publishes nothing for a caller that left.
type canceledBroker struct{ Broker }

func (b canceledBroker) Publish(ctx context.Context, pub *Publication, rate int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return b.Broker.Publish(ctx, pub, rate)
}

func TestDeleteRoom(t *testing.T) {
	w := newWorld()
	room := w.room(t, RoomSpec{})
	if err := w.service.DeleteRoom(t.Context(), room.ARN); err != nil {
		t.Fatal(err)
	}
	if pub := w.broker.one(t); pub.Kind != PublishRoomDeleted || pub.Room != room.ARN || pub.Frame != nil {
		t.Errorf("published %+v", pub)
	}
	if _, err := w.service.GetRoom(t.Context(), room.ARN); code(err) != NotFound {
		t.Errorf("GetRoom afterwards: got %v, want NotFound", err)
	}
	if err := w.service.DeleteRoom(t.Context(), room.ARN); code(err) != NotFound {
		t.Errorf("again: got %v, want NotFound", err)
	}
	if got := w.broker.taken(); len(got) != 0 {
		t.Error("a refused deletion was published")
	}
}

func TestLoggingConfigurations(t *testing.T) {
	virtually(t, func(t *testing.T, w *world) {
		now := time.Now().UTC()
		destination := Destination{Kind: DestinationFirehose, Name: "stream"}
		lc, err := w.service.CreateLoggingConfiguration(t.Context(), testScope, LoggingConfigurationSpec{Name: "n", Destination: destination, Tags: map[string]string{"a": "b"}})
		if err != nil {
			t.Fatal(err)
		}
		want := LoggingConfiguration{ARN: lc.ARN, Name: "n", CreateTime: now, UpdateTime: now, Destination: destination, Tags: map[string]string{"a": "b"}}
		if diff := cmp.Diff(want, lc); diff != "" || !ValidID(lc.ARN.ID) || lc.ARN.Kind != KindLoggingConfiguration || lc.ARN.Scope != testScope {
			t.Errorf("created %v (-want +got):\n%s", lc.ARN, diff)
		}

		time.Sleep(time.Second)
		for _, test := range []struct {
			name   string
			change LoggingConfigurationChange
			want   func(*LoggingConfiguration)
		}{
			{"nothing", LoggingConfigurationChange{}, func(*LoggingConfiguration) {}},
			{"name", LoggingConfigurationChange{Name: ptr("")}, func(lc *LoggingConfiguration) { lc.Name = "" }},
			{"destination", LoggingConfigurationChange{Destination: &Destination{Kind: DestinationCloudWatchLogs, Name: "group"}},
				func(lc *LoggingConfiguration) { lc.Destination = Destination{DestinationCloudWatchLogs, "group"} }},
		} {
			test.want(&want)
			want.UpdateTime = after(want.UpdateTime)
			got, err := w.service.UpdateLoggingConfiguration(t.Context(), lc.ARN, test.change)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s: %v (-want +got):\n%s", test.name, err, diff)
			}
			got, err = w.service.GetLoggingConfiguration(t.Context(), lc.ARN)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%s, stored: %v (-want +got):\n%s", test.name, err, diff)
			}
		}

		room := w.room(t, RoomSpec{LoggingConfigurations: []ARN{lc.ARN}})
		if err := w.service.DeleteLoggingConfiguration(t.Context(), lc.ARN); code(err) != Conflict {
			t.Errorf("delete while in use: got %v, want Conflict", err)
		}
		if err := w.service.DeleteRoom(t.Context(), room.ARN); err != nil {
			t.Error(err)
		}
		if err := w.service.DeleteLoggingConfiguration(t.Context(), lc.ARN); err != nil {
			t.Errorf("delete: got %v", err)
		}
		for name, err := range map[string]error{
			"get":    second(w.service.GetLoggingConfiguration(t.Context(), lc.ARN)),
			"update": second(w.service.UpdateLoggingConfiguration(t.Context(), lc.ARN, LoggingConfigurationChange{})),
			"delete": w.service.DeleteLoggingConfiguration(t.Context(), lc.ARN),
		} {
			if code(err) != NotFound {
				t.Errorf("%s when it is gone: got %v, want NotFound", name, err)
			}
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestTags(t *testing.T) {
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint("key", i)] = ""
		}
		return m
	}
	for _, kind := range []Kind{KindRoom, KindLoggingConfiguration} {
		t.Run(string(kind), func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				arn := w.room(t, RoomSpec{}).ARN
				if kind == KindLoggingConfiguration {
					arn = w.loggingConfiguration(t).ARN
				}
				created := time.Now().UTC()
				time.Sleep(time.Second)
				want := func(what string, want map[string]string) {
					t.Helper()
					got, err := w.service.ListTagsForResource(t.Context(), arn)
					if diff := cmp.Diff(want, got); err != nil || diff != "" {
						t.Errorf("%s: %v (-want +got):\n%s", what, err, diff)
					}
				}
				do := func(what string, err error) {
					t.Helper()
					if err != nil {
						t.Errorf("%s: got %v", what, err)
					}
					if changes := w.broker.taken(); (kind == KindRoom) != (len(changes) == 1 && changes[0].Kind == PublishRoomChanged) {
						t.Errorf("%s: published %v", what, changes)
					}
				}
				want("at first", map[string]string{})
				do("add", w.service.TagResource(t.Context(), arn, map[string]string{"a": "1", "b": "2"}))
				want("added", map[string]string{"a": "1", "b": "2"})
				do("merge", w.service.TagResource(t.Context(), arn, map[string]string{"b": "3", "c": ""}))
				want("merged", map[string]string{"a": "1", "b": "3", "c": ""})
				do("remove", w.service.UntagResource(t.Context(), arn, []string{"a", "c", "never there"}))
				want("removed", map[string]string{"b": "3"})
				do("up to the limit", w.service.TagResource(t.Context(), arn, many(MaxTags-1)))
				do("overwriting at the limit", w.service.TagResource(t.Context(), arn, map[string]string{"b": "4"}))

				err := w.service.TagResource(t.Context(), arn, map[string]string{"one": "too many"})
				if got := AsError(err); got.Code != BadRequest || got.Message != "Request member: tags failed to satisfy the constraints: a resource has at most 50 tags" || len(got.Fields) != 1 || got.Fields[0].Name != "tags" {
					t.Errorf("over the limit: got %+v", got)
				}
				if got := len(w.broker.taken()); got != 0 {
					t.Error("a refused change was published")
				}
				if tags, _ := w.service.ListTagsForResource(t.Context(), arn); len(tags) != MaxTags {
					t.Errorf("tags after the refusal: got %d, want %d", len(tags), MaxTags)
				}
				updated := w.store.rooms[arn].UpdateTime
				if kind == KindLoggingConfiguration {
					updated = w.store.configs[arn].UpdateTime
				}
				if !updated.Equal(created) {
					t.Errorf("update time: got %v, want %v: tags do not move it", updated, created)
				}
				arn.ID = "missing"
				for name, err := range map[string]error{
					"list":   second(w.service.ListTagsForResource(t.Context(), arn)),
					"tag":    w.service.TagResource(t.Context(), arn, nil),
					"remove": w.service.UntagResource(t.Context(), arn, nil),
				} {
					if code(err) != NotFound {
						t.Errorf("%s of nothing: got %v, want NotFound", name, err)
					}
				}
			})
		})
	}
}

func TestControlPlaneEvents(t *testing.T) {
	for _, test := range []struct {
		name  string
		do    func(ctx context.Context, s *Service, room ARN) (string, error)
		frame string
		want  Publication
	}{
		{"event", func(ctx context.Context, s *Service, room ARN) (string, error) {
			return s.SendEvent(ctx, room, "poll:open", map[string]string{"b": "2", "a": "1"})
		}, `{"Type":"EVENT","Id":"ID","RequestId":"","EventName":"poll:open","Attributes":{"a":"1","b":"2"},"SendTime":"2000-01-01T00:00:00.000Z"}`,
			Publication{Kind: PublishEvent}},
		{"event without attributes", func(ctx context.Context, s *Service, room ARN) (string, error) {
			return s.SendEvent(ctx, room, "x", nil)
		}, `{"Type":"EVENT","Id":"ID","RequestId":"","EventName":"x","Attributes":null,"SendTime":"2000-01-01T00:00:00.000Z"}`,
			Publication{Kind: PublishEvent}},
		{"delete", func(ctx context.Context, s *Service, room ARN) (string, error) {
			return s.DeleteMessage(ctx, room, "M2YcHkgffEvU", "rude")
		}, `{"Type":"EVENT","Id":"ID","RequestId":"","EventName":"aws:DELETE_MESSAGE","Attributes":{"MessageID":"M2YcHkgffEvU","MessageId":"M2YcHkgffEvU","Reason":"rude"},"SendTime":"2000-01-01T00:00:00.000Z"}`,
			Publication{Kind: PublishDelete}},
		{"delete without a reason", func(ctx context.Context, s *Service, room ARN) (string, error) {
			return s.DeleteMessage(ctx, room, "M2YcHkgffEvU", "")
		}, `{"Type":"EVENT","Id":"ID","RequestId":"","EventName":"aws:DELETE_MESSAGE","Attributes":{"MessageID":"M2YcHkgffEvU","MessageId":"M2YcHkgffEvU"},"SendTime":"2000-01-01T00:00:00.000Z"}`,
			Publication{Kind: PublishDelete}},
		{"disconnect", func(ctx context.Context, s *Service, room ARN) (string, error) {
			return "", s.DisconnectUser(ctx, Actor{}, room, "kicked", "spam")
		}, `{"Type":"EVENT","Id":"ID","RequestId":"","EventName":"aws:DISCONNECT_USER","Attributes":{"Reason":"spam","UserId":"kicked"},"SendTime":"2000-01-01T00:00:00.000Z"}`,
			Publication{Kind: PublishDisconnect, UserID: "kicked", Reason: "spam"}},
		{"disconnect without a reason", func(ctx context.Context, s *Service, room ARN) (string, error) {
			return "", s.DisconnectUser(ctx, Actor{}, room, "kicked", "")
		}, `{"Type":"EVENT","Id":"ID","RequestId":"","EventName":"aws:DISCONNECT_USER","Attributes":{"UserId":"kicked"},"SendTime":"2000-01-01T00:00:00.000Z"}`,
			Publication{Kind: PublishDisconnect, UserID: "kicked"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtually(t, func(t *testing.T, w *world) {
				// No room rate holds for these.
				room := w.room(t, RoomSpec{MaximumMessageRatePerSecond: 1}).ARN
				for range 3 {
					id, err := test.do(t.Context(), w.service, room)
					if err != nil {
						t.Fatal(err)
					}
					got := *w.broker.one(t)
					frame := string(got.Frame)
					sent := frame[len(`{"Type":"EVENT","Id":"`):][:12]
					if !ValidID(sent) || id != "" && id != sent {
						t.Errorf("Id: got %q, returned %q", sent, id)
					}
					if frame = strings.Replace(frame, sent, "ID", 1); frame != test.frame {
						t.Errorf("got  %s\nwant %s", frame, test.frame)
					}
					test.want.ID = sent
					test.want.Room, test.want.Accepted, test.want.Frame, test.want.Position = room, got.Accepted, got.Frame, got.Position
					if diff := cmp.Diff(test.want, got); diff != "" {
						t.Errorf("(-want +got):\n%s", diff)
					}
				}
				if _, err := test.do(t.Context(), w.service, ARN{Scope: testScope, Kind: KindRoom, ID: "missing"}); code(err) != NotFound {
					t.Errorf("a room that does not exist: got %v, want NotFound", err)
				}
			})
		})
	}
}

// TestFaultsOfThePorts: what a store or broker says reaches the log, and no client.
func TestFaultsOfThePorts(t *testing.T) {
	fault := errors.New("disk on fire")
	w := newWorld()
	room := w.room(t, RoomSpec{})
	ctx := t.Context()
	if err := w.service.Ready(ctx); err != nil {
		t.Errorf("Ready: got %v", err)
	}
	w.broker.fails = fault
	for name, err := range map[string]error{
		"Ready":      w.service.Ready(ctx),
		"UpdateRoom": second(w.service.UpdateRoom(ctx, room.ARN, RoomChange{})),
		"DeleteRoom": w.service.DeleteRoom(ctx, w.room(t, RoomSpec{}).ARN),
		"SendEvent":  second(w.service.SendEvent(ctx, room.ARN, "x", nil)),
	} {
		if !errors.Is(err, fault) || code(err) != -1 {
			t.Errorf("broker, %s: got %v", name, err)
		}
	}
	w.broker.fails = nil
	w.store.fails = fault
	for name, err := range map[string]error{
		"Ready":                      w.service.Ready(ctx),
		"Prune":                      w.service.Prune(ctx),
		"CreateRoom":                 second(w.service.CreateRoom(ctx, testScope, RoomSpec{})),
		"ListRooms":                  func() error { _, _, err := w.service.ListRooms(ctx, testScope, RoomFilter{}, "", 1); return err }(),
		"ListLoggingConfigurations":  func() error { _, _, err := w.service.ListLoggingConfigurations(ctx, testScope, "", 1); return err }(),
		"CreateLoggingConfiguration": second(w.service.CreateLoggingConfiguration(ctx, testScope, LoggingConfigurationSpec{})),
		"CreateChatToken":            func() error { _, _, err := w.service.CreateChatToken(ctx, TokenSpec{Room: room.ARN}); return err }(),
		"Admit":                      second(w.service.Admit(ctx, Claims{Room: room.ARN}, 1)),
		"TagResource":                w.service.TagResource(ctx, room.ARN, nil),
	} {
		if !errors.Is(err, fault) || AsError(err).Code != Internal || AsError(err).Message != "Internal server error" {
			t.Errorf("store, %s: got %v", name, err)
		}
	}
}
