// Refused handshakes: after two the third of the SDK's tries succeeds; when there are no
// end of them it gives up with "socketError". Messages that are refused with 429 or 500 reject
// and leave the connection as it is.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, Visitor, rejected } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const enter = async () => ({ token: (await server.token(room, 'ann')).token });
  for (const status of [401, 503]) {
    await server.inject({ fault: 'error', on: 'handshake', status, times: 2, room });
    const ann = new Visitor(server.webSocketURL, enter);
    ann.connect();
    await ann.next('connect');
    assert.equal(ann.tokens, 3);
    ann.room.disconnect();
  }
  await server.inject({ fault: 'error', on: 'handshake', status: 403, times: 4, room });
  const kept = new Visitor(server.webSocketURL, enter);
  kept.connect();
  assert.equal(await kept.next('disconnect'), 'socketError');
  assert.equal(kept.tokens, 4);

  const ann = await server.enter(room, 'ann');
  const bob = await server.enter(room, 'bob');
  await server.inject({ fault: 'error', on: ['SEND_MESSAGE'], status: 429, times: 1, room, user: 'ann', message: 'rate limit exceeded' });
  await bob.send(new SendMessageRequest('from another'));
  const refused = await rejected(ann.send(new SendMessageRequest('one')));
  assert.equal(refused.errorCode, 429);
  assert.equal(refused.errorMessage, 'rate limit exceeded');
  await server.inject({ fault: 'error', on: 'actions', status: 500, times: 1, room });
  assert.equal((await rejected(ann.send(new SendMessageRequest('two')))).errorCode, 500);
  await ann.send(new SendMessageRequest('three'));
  assert.equal(ann.tokens, 1);

  // What is late comes in order.
  await server.inject({ fault: 'delay', on: 'delivery', milliseconds: 700, times: 1, room });
  const begun = performance.now();
  await Promise.all([ann.send(new SendMessageRequest('late')), bob.send(new SendMessageRequest('behind'))]);
  assert.ok(performance.now() - begun >= 690, 'nothing was late');
}
