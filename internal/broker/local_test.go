package broker

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"parlor/internal/broker/brokertest"
	"parlor/internal/chat"
)

func TestLocal(t *testing.T) {
	brokertest.Run(t, func(t *testing.T, deliver func(*chat.Publication)) chat.Broker {
		return NewLocal(deliver)
	})
}

func TestLocalForgetsRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLocal(func(*chat.Publication) {})
		for i := range 100 {
			arn := chat.ARN{Kind: chat.KindRoom, ID: fmt.Sprint("room", i)}
			_, cancel, err := l.Subscribe(t.Context(), arn)
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Publish(t.Context(), &chat.Publication{Room: arn}, 1); err != nil {
				t.Fatal(err)
			}
			cancel()
		}
		if got := len(l.rooms); got != 100 {
			t.Errorf("rooms whose rate counts: got %d, want 100", got)
		}
		time.Sleep(time.Second)
		_, cancel, err := l.Subscribe(t.Context(), chat.ARN{ID: "another"})
		if err != nil {
			t.Fatal(err)
		}
		cancel()
		if got := len(l.rooms) + len(l.unsubscribed); got != 0 {
			t.Errorf("rooms that nobody needs: got %d, want 0", got)
		}
	})
}

func TestLocalRateOutlivesSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLocal(func(*chat.Publication) {})
		arn := chat.ARN{ID: "room"}
		for i := range 3 {
			_, cancel, err := l.Subscribe(t.Context(), arn)
			if err != nil {
				t.Fatal(err)
			}
			err = l.Publish(t.Context(), &chat.Publication{Room: arn}, 2)
			if got, want := err != nil, i == 2; got != want {
				t.Errorf("publication %d refused: got %v, want %v", i, got, want)
			}
			cancel()
		}
	})
}

func BenchmarkLocalPublish(b *testing.B) {
	l := NewLocal(func(*chat.Publication) {})
	arn := chat.ARN{ID: "room"}
	if _, _, err := l.Subscribe(b.Context(), arn); err != nil {
		b.Fatal(err)
	}
	pub := &chat.Publication{Room: arn}
	b.ReportAllocs()
	for b.Loop() {
		if err := l.Publish(b.Context(), pub, 0); err != nil {
			b.Fatal(err)
		}
	}
}
