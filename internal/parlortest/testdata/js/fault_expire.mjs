// A session whose time is over, now: the SDK fetches a fresh token and connects again, and
// the application hears no "disconnect". A token that was revoked meanwhile is replaced, too.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Raw, Server } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const ann = await server.enter(room, 'ann');
  const raw = new Raw(server.webSocketURL, (await server.token(room, 'raw')).token);
  await raw.opened;

  assert.equal((await server.inject({ fault: 'expire', room })).connections, 2);
  await ann.next('connecting');
  await ann.next('connect');
  assert.equal(ann.tokens, 2);
  assert.equal(ann.all('disconnect').length, 0);
  await ann.send(new SendMessageRequest('after'));

  const frame = await raw.next();
  assert.equal(frame.Type, 'ERROR');
  assert.equal(frame.ErrorCode, 401);
  assert.equal((await raw.closed).code, 1001);

  // One action is the last of a session: 401 ends it.
  await server.inject({ fault: 'error', on: 'SEND_MESSAGE', status: 401, times: 1, room, user: 'ann' });
  ann.room.sendMessage(new SendMessageRequest('too late')).catch(() => {});
  await ann.next('connecting');
  await ann.next('connect');
  assert.equal(ann.tokens, 3);

  // A token that was spent before it was used.
  const { token } = await server.token(room, 'bob');
  await server.inject({ fault: 'revoke', token });
  const bob = new Raw(server.webSocketURL, token);
  await assert.rejects(bob.opened, { status: 401 });
}
