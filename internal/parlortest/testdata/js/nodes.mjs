// Nodes of one database and broker: a room that was made at one, users at others, tokens
// from yet another.
import assert from 'node:assert/strict';
import { DeleteMessageRequest, DisconnectUserRequest, SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { SendEventCommand } from '@aws-sdk/client-ivschat';
import { Server, Visitor, bound } from './lib.mjs';

export default async function () {
  const [a, b, c] = ['A', 'B', 'C'].map((name) => new Server(name));
  const room = await a.room();

  /** enter connects a user at one node by a token of another. */
  const enter = async (at, from, user) => {
    const visitor = new Visitor(at.webSocketURL, async () => ({ token: (await from.token(room, user)).token }));
    visitor.connect();
    await visitor.next('connect');
    return visitor;
  };
  const ann = await enter(a, b, 'ann');
  const bob = await enter(b, c, 'bob');

  // Both talk at once; both see the same.
  const heard = [ann, bob].map((visitor) => {
    const ids = [];
    visitor.room.addListener('message', (message) => ids.push(message.id));
    return ids;
  });
  const sent = [];
  for (let i = 0; i < 5; i++) {
    sent.push(...await Promise.all([ann, bob].map(async (visitor, k) => {
      const request = new SendMessageRequest(`message ${i} of ${k}`, { k: `${k}` });
      const got = await visitor.send(request);
      assert.equal(got.requestId, request.requestId);
      return got.id;
    })));
    await new Promise((resolve) => setTimeout(resolve, 250)); // ten requests a second at most
  }
  for (const visitor of [ann, bob]) {
    while (heard[visitor === ann ? 0 : 1].length < sent.length) await visitor.next('message');
  }
  assert.deepEqual(heard[0], heard[1]);
  assert.deepEqual([...heard[0]].sort(), [...sent].sort());

  const { id } = await c.aws.send(new SendEventCommand({ roomIdentifier: room, eventName: 'app:goal', attributes: { by: '9' } }));
  for (const visitor of [ann, bob]) {
    const event = await visitor.next('event');
    assert.equal(event.id, id);
    assert.equal(event.eventName, 'app:goal');
  }
  await bound(ann.room.deleteMessage(new DeleteMessageRequest(sent[0], 'rude')), 30, 'deleteMessage');
  assert.equal((await bob.next('messageDelete')).messageId, sent[0]);
  await bound(ann.room.disconnectUser(new DisconnectUserRequest('bob', 'too loud')), 30, 'disconnectUser');
  assert.equal((await bob.next('userDisconnect')).userId, 'bob');
  assert.equal(await bob.next('disconnect'), 'serverDisconnect');
  assert.equal((await ann.send(new SendMessageRequest('still here'))).content, 'still here');
  ann.room.disconnect();
}
