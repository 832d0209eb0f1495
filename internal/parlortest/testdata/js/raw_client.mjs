// AWS's own demos speak over a bare WebSocket: camel-case members, no RequestId, an id of
// their own in SEND_MESSAGE, close codes of their own.
import assert from 'node:assert/strict';
import { Raw, Server, id } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const open = async (user) => {
    const raw = new Raw(server.webSocketURL, (await server.token(room, user, { attributes: { username: user } })).token);
    await raw.opened;
    return raw;
  };
  const ann = await open('ann');
  const bob = await open('bob');

  ann.send({ action: 'SEND_MESSAGE', content: 'hi', attributes: { message_type: 'MESSAGE' }, id: 'F3A2-not-an-id', extra: [1] });
  const [message, same] = [await ann.next(), await bob.next()];
  assert.deepEqual(message, same);
  assert.deepEqual(Object.keys(message), ['Type', 'Id', 'RequestId', 'Attributes', 'Content', 'SendTime', 'Sender']);
  assert.equal(message.Type, 'MESSAGE');
  assert.match(message.Id, id);
  assert.equal(message.RequestId, '');
  assert.deepEqual(message.Attributes, { message_type: 'MESSAGE' });
  assert.match(message.SendTime, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/);
  assert.deepEqual(message.Sender, { UserId: 'ann', Attributes: { username: 'ann' } });

  ann.send({ action: 'SEND_MESSAGE', content: 'no attributes' });
  assert.equal((await bob.next()).Attributes, null);
  await ann.next();

  ann.send({ action: 'DELETE_MESSAGE', id: message.Id, reason: 'Deleted by moderator' });
  for (const event of [await ann.next(), await bob.next()]) {
    assert.equal(event.EventName, 'aws:DELETE_MESSAGE');
    assert.equal(event.RequestId, '');
    assert.deepEqual(event.Attributes, { MessageID: message.Id, MessageId: message.Id, Reason: 'Deleted by moderator' });
  }

  ann.socket.send('not JSON');
  const error = await ann.next();
  assert.equal(error.Type, 'ERROR');
  assert.equal(error.ErrorCode, 400);
  assert.equal(error.RequestId, '');
  ann.send({ action: 'SHOUT', requestId: 'r1' });
  assert.equal((await ann.next()).RequestId, 'r1');

  ann.send({ action: 'DISCONNECT_USER', userId: 'bob', reason: 'Kicked by moderator' });
  for (const event of [await ann.next(), await bob.next()]) {
    assert.equal(event.EventName, 'aws:DISCONNECT_USER');
    assert.deepEqual(event.Attributes, { UserId: 'bob', Reason: 'Kicked by moderator' });
  }
  assert.deepEqual(await bob.closed, { code: 1001, reason: 'Kicked by moderator' });

  ann.socket.close(3000, 'Restarting');
  assert.equal((await ann.closed).code, 3000);
}
