// deleteMessage resolves, and everybody is told which message and why.
import assert from 'node:assert/strict';
import { DeleteMessageRequest, SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { DeleteMessageCommand } from '@aws-sdk/client-ivschat';
import { Server, bound, id } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const ann = await server.enter(room, 'ann');
  const moderator = await server.enter(room, 'moderator');

  const message = await ann.send(new SendMessageRequest('rude'));
  const request = new DeleteMessageRequest(message.id, 'no rudeness');
  const done = await bound(moderator.room.deleteMessage(request), 30, 'deleteMessage');
  for (const got of [done, await ann.next('messageDelete'), await moderator.next('messageDelete')]) {
    assert.match(got.id, id);
    assert.notEqual(got.id, message.id);
    assert.equal(got.messageId, message.id);
    assert.equal(got.reason, 'no rudeness');
    assert.equal(got.requestId, request.requestId);
    assert.ok(got.sendTime instanceof Date);
  }
  const silent = await bound(moderator.room.deleteMessage(new DeleteMessageRequest(message.id)), 30, 'deleteMessage');
  assert.equal(silent.reason, undefined);
  assert.equal((await ann.next('messageDelete')).reason, undefined);

  const { id: operation } = await server.aws.send(new DeleteMessageCommand({ roomIdentifier: room, id: message.id, reason: 'by the API' }));
  const seen = await ann.next('messageDelete');
  assert.equal(seen.messageId, message.id);
  assert.equal(seen.reason, 'by the API');
  assert.equal(seen.id, operation);
}
