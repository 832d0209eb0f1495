package broker

import (
	"context"
	"strconv"

	"github.com/redis/rueidis"

	"parlor/internal/chat"
)

// recentScript says where a room is, and the end of its log. Keys and arguments: as of
// lookScript, and how many entries.
var recentScript = rueidis.NewLuaScript(luaCommon + `
return answer('is', redis.call('LRANGE', KEYS[2], -ARGV[5], -1))
`)

// Recent implements [Running]: what all nodes published, 1,024 at most, for ten minutes.
// What was offered once more may be there twice.
func (b *Redis) Recent(ctx context.Context, arn chat.ARN, last int) (pubs []*chat.Publication, at chat.Position, err error) {
	k := keysOf(arn)
	args := append(where(chat.Position{}, false), strconv.Itoa(last))
	var a answer
	err = b.insist(ctx, func(ctx context.Context) (err error) {
		a, err = b.call(ctx, recentScript, []string{k.state, k.log}, arn, args...)
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
