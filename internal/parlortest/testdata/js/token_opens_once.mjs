// A token opens one connection: an application that hands out the same one again ends in
// socketError, after the SDK's first attempt and its three retries.
import assert from 'node:assert/strict';
import { Raw, Server, Visitor, rejected } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const { token } = await server.token(room, 'ann');

  const first = new Visitor(server.webSocketURL, async () => ({ token }));
  first.connect();
  await first.next('connect');

  const second = new Visitor(server.webSocketURL, async () => ({ token }));
  second.connect();
  assert.equal(await second.next('disconnect'), 'socketError');
  assert.equal(second.tokens, 4);
  assert.equal((await rejected(new Raw(server.webSocketURL, token).opened)).status, 401);
  assert.equal(first.room.state, 'connected');
}
