// Two users of the chat SDK talk: every member of a message is what the SDK promises.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, id } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const ann = await server.enter(room, 'ann ✓', { attributes: { displayName: 'Ann <b>"&" é🙂' } });
  const bob = await server.enter(room, 'bob');

  const begun = Date.now();
  const request = new SendMessageRequest('hello <b>"&" é🙂\n', { mood: 'good & <glad>', empty: '' });
  const sent = await ann.send(request);
  for (const got of [sent, await bob.next('message'), await ann.next('message')]) {
    assert.match(got.id, id);
    assert.equal(got.requestId, request.requestId);
    assert.equal(got.content, 'hello <b>"&" é🙂\n');
    assert.deepEqual({ ...got.attributes }, { mood: 'good & <glad>', empty: '' });
    assert.equal(got.sender.userId, 'ann ✓');
    assert.deepEqual({ ...got.sender.attributes }, { displayName: 'Ann <b>"&" é🙂' });
    assert.ok(got.sendTime instanceof Date);
    assert.ok(got.sendTime >= begun - 5 && got.sendTime <= Date.now() + 5, got.sendTime.toISOString());
    assert.equal(got.id, sent.id);
  }

  const plain = await bob.send(new SendMessageRequest('and back'));
  assert.equal(plain.content, 'and back');
  assert.ok(plain.attributes == null);
  assert.deepEqual({ ...plain.sender.attributes }, {});
  assert.notEqual(plain.id, sent.id);
  assert.equal((await ann.next('message')).id, plain.id);
  assert.equal(ann.room.state, 'connected');
  ann.room.disconnect();
  assert.equal(await ann.next('disconnect'), 'clientDisconnect');
}
