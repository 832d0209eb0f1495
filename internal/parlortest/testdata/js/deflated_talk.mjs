// A server that offers compression talks to clients that take it, as Node's ws and every
// browser do, and to those that do not.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { WebSocket } from 'ws';
import { Raw, Server } from './lib.mjs';

export default async function () {
  const server = new Server('DEFLATED');
  const room = await server.room();
  const ann = await server.enter(room, 'ann');
  const raw = new Raw(server.webSocketURL, (await server.token(room, 'raw')).token);
  await raw.opened;
  assert.match(raw.socket.extensions, /permessage-deflate/);
  const plain = new WebSocket(server.webSocketURL, (await server.token(room, 'plain')).token, { perMessageDeflate: false });
  const heard = [];
  plain.on('message', (data) => heard.push(JSON.parse(data).Content));
  await new Promise((resolve, reject) => { plain.on('open', resolve); plain.on('error', reject); });
  assert.equal(plain.extensions, '');

  const contents = ['a', 'hello '.repeat(80), '🙂'.repeat(500), 'x'];
  for (const content of contents) {
    assert.equal((await ann.send(new SendMessageRequest(content, { k: 'v'.repeat(900) }))).content, content);
    assert.equal((await raw.next()).Content, content);
  }
  raw.send({ Action: 'SEND_MESSAGE', Content: 'y'.repeat(500), RequestId: 'r' }); // ws compresses this one
  assert.equal((await raw.next()).Content, 'y'.repeat(500));
  await ann.send(new SendMessageRequest('last'));
  while (heard.at(-1) !== 'last') await new Promise((resolve) => plain.once('message', resolve));
  assert.deepEqual(heard, [...contents, 'y'.repeat(500), 'last']);
}
