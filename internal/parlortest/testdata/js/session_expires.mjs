// A session of one minute, the shortest there is, ends with an ERROR 401: the SDK asks
// for a fresh token and goes on, and the application hears no "disconnect".
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Raw, Server, Visitor } from './lib.mjs';

export const seconds = 110;

export default async function () {
  const server = new Server();
  const room = await server.room();
  const watcher = await server.enter(room, 'watcher');

  const minute = { sessionDurationInMinutes: 1 };
  const times = [];
  const ann = new Visitor(server.webSocketURL, async () => {
    const { token, sessionExpirationTime } = await server.token(room, 'ann', minute);
    times.push(sessionExpirationTime);
    return { token, sessionExpirationTime };
  });
  ann.connect();
  await ann.next('connect');
  const { token, sessionExpirationTime } = await server.token(room, 'raw', minute);
  const raw = new Raw(server.webSocketURL, token);
  await raw.opened;
  await ann.send(new SendMessageRequest('before'));
  assert.equal((await watcher.next('message')).content, 'before');
  assert.equal((await raw.next()).Content, 'before');

  await ann.next('connecting', 80);
  assert.ok(Date.now() >= times[0] - 50, 'the session ended before its time');
  await ann.next('connect');
  assert.ok(Date.now() <= times[0].getTime() + 5000, 'the session ended long after its time');
  assert.equal(ann.tokens, 2);
  assert.equal(ann.all('disconnect').length, 0);
  await ann.send(new SendMessageRequest('after'));
  assert.equal((await watcher.next('message')).content, 'after');

  let frame = await raw.next(80);
  if (frame.Content === 'after') frame = await raw.next(); // it was opened a moment later
  assert.equal(frame.Type, 'ERROR');
  assert.equal(frame.ErrorCode, 401);
  assert.equal(frame.RequestId, '');
  const { code, reason } = await raw.closed;
  assert.equal(code, 1001);
  assert.equal(JSON.parse(reason).ErrorCode, 401);
  assert.ok(JSON.parse(reason).ErrorMessage);
  assert.ok(Date.now() >= sessionExpirationTime - 50);
}
