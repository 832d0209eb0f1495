// DeleteRoom disconnects everybody for good: the SDK does not come back by itself, and an
// application that insists gets nowhere, soon.
import assert from 'node:assert/strict';
import { DeleteRoomCommand } from '@aws-sdk/client-ivschat';
import { Raw, Server, Visitor, rejected } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const ann = await server.enter(room, 'ann');
  const raw = new Raw(server.webSocketURL, (await server.token(room, 'raw')).token);
  await raw.opened;
  const unused = [];
  for (let n = 0; n < 4; n++) unused.push((await server.token(room, 'late')).token);

  await server.aws.send(new DeleteRoomCommand({ identifier: room }));
  assert.equal(await ann.next('disconnect'), 'serverDisconnect');
  const { code, reason } = await raw.closed;
  assert.equal(code, 1001);
  assert.equal(JSON.parse(reason).ErrorCode, 404);
  assert.equal(ann.tokens, 1);

  // No more tokens for it …
  ann.connect();
  assert.equal(await ann.next('disconnect'), 'fetchTokenError');
  assert.equal(ann.tokens, 1 + 4);
  // … and those there are do not open it.
  assert.equal((await rejected(new Raw(server.webSocketURL, unused[0]).opened)).status, 404);
  const late = new Visitor(server.webSocketURL, async () => ({ token: unused.shift() }));
  late.connect();
  assert.equal(await late.next('disconnect'), 'socketError');
  assert.equal(late.tokens, 4);
}
