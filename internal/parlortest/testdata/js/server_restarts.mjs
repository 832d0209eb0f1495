// A server that drains breaks its connections without a close handshake: the SDK sees a
// broken socket, asks for a fresh token and goes on when there is a server again.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Raw, Server, Visitor } from './lib.mjs';

export default async function () {
  const server = new Server('DRAINED');
  const room = await server.room();
  const persistent = async (user) => {
    for (const begun = Date.now(); ;) { // as a backend with retries does
      try {
        return { token: (await server.token(room, user)).token };
      } catch (e) {
        if (Date.now() - begun > 30_000) throw e;
        await new Promise((next) => setTimeout(next, 20));
      }
    }
  };
  const ann = new Visitor(server.webSocketURL, () => persistent('ann'), { maxReconnectAttempts: 100 });
  const bob = new Visitor(server.webSocketURL, () => persistent('bob'), { maxReconnectAttempts: 100 });
  for (const visitor of [ann, bob]) {
    visitor.connect();
    await visitor.next('connect');
  }
  const { token: kept } = await server.token(room, 'raw');
  const raw = new Raw(server.webSocketURL, (await server.token(room, 'raw')).token);
  await raw.opened;

  const control = await fetch(process.env.RESTART_URL, { method: 'POST' }); // stops it, and starts it again there
  assert.equal(control.status, 200, await control.text());
  assert.equal((await raw.closed).code, 1006);
  assert.equal(raw.frames.length, 0);
  for (const visitor of [ann, bob]) {
    await visitor.next('connecting');
    await visitor.next('connect');
    assert.equal(visitor.all('disconnect').length, 0);
    assert.ok(visitor.tokens >= 2);
  }
  await ann.send(new SendMessageRequest('here again'));
  assert.equal((await bob.next('message')).content, 'here again');
  await new Raw(server.webSocketURL, kept).opened; // a token from before is good
}
