package broker

import (
	"context"

	"github.com/redis/rueidis"

	"parlor/internal/chat"
)

// recentScript says where a room is, and all of its log. Keys and arguments: as of
// lookScript.
var recentScript = rueidis.NewLuaScript(luaCommon + `
return answer('is', redis.call('LRANGE', KEYS[2], 0, -1))
`)

// Recent implements [Running]: what all nodes published, the last 1,024, for ten minutes.
// What was offered once more may be there twice.
func (b *Redis) Recent(ctx context.Context, arn chat.ARN) (pubs []*chat.Publication, at chat.Position, err error) {
	k := keysOf(arn)
	var a answer
	err = b.insist(ctx, func(ctx context.Context) (err error) {
		a, err = b.call(ctx, recentScript, []string{k.state, k.log}, arn, where(chat.Position{}, false)...)
		return err
	})
	if err != nil {
		return nil, chat.Position{}, err
	}
	for _, e := range a.entries {
		pubs = append(pubs, e.pub)
	}
	return pubs, a.at, nil
}
