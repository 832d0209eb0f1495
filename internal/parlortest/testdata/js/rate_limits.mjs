// Too much at once is refused with 429 and the text that AWS's own demo compares with:
// what is over the connection's ten requests a second, and what is over the room's rate.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, bound } from './lib.mjs';

async function burst(visitor, n) {
  const requests = Array.from({ length: n }, (_, i) => visitor.room.sendMessage(new SendMessageRequest(`${i}`)));
  const answers = await bound(Promise.allSettled(requests), 30, 'a burst');
  for (const { reason } of answers.filter((a) => a.status === 'rejected')) {
    assert.equal(reason.errorCode, 429);
    assert.equal(reason.errorMessage, 'rate limit exceeded');
  }
  return answers.filter((a) => a.status === 'fulfilled').length;
}

export default async function () {
  const server = new Server();
  const quick = await server.enter(await server.room(), 'ann');
  const begun = Date.now();
  const accepted = await burst(quick, 40);
  const most = 10 + Math.ceil((Date.now() - begun) / 100);
  assert.ok(accepted >= 10 && accepted <= most, `accepted ${accepted} of 40, want 10 to ${most}`);

  const slow = await server.room({ maximumMessageRatePerSecond: 1 });
  const [ann, bob] = [await server.enter(slow, 'ann'), await server.enter(slow, 'bob')];
  const counts = await Promise.all([burst(ann, 5), burst(bob, 5)]);
  const shared = counts[0] + counts[1];
  assert.ok(shared >= 1 && shared < 10, `accepted ${shared} of 10`);
  assert.equal(ann.room.state, 'connected');

  // Both are welcome again when the second is over.
  await new Promise((next) => setTimeout(next, 1100));
  await bob.send(new SendMessageRequest('slowly'));
  assert.equal(await burst(quick, 1), 1);
}
