// A refused handshake makes the SDK ask for a fresh token, three times at most; the
// third retry still connects.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, Visitor } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const { token: spent } = await server.token(room, 'ann');
  const first = new Visitor(server.webSocketURL, async () => ({ token: spent }));
  first.connect();
  await first.next('connect');

  const tokens = [
    async () => spent,
    async () => 'not-a-token-of-this-server',
    async () => `${(await server.token(room, 'ann')).token.slice(0, -2)}AA`, // tampered with
    async () => (await server.token(room, 'ann')).token,
  ];
  const visitor = new Visitor(server.webSocketURL, async () => ({ token: await tokens.shift()() }));
  visitor.connect();
  await visitor.next('connect');
  assert.equal(visitor.tokens, 4);
  await visitor.send(new SendMessageRequest('in at last'));
}
