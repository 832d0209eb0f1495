// A token without capabilities watches: each request is refused with 403 and a text, and
// the connection stays.
import assert from 'node:assert/strict';
import { DeleteMessageRequest, DisconnectUserRequest, SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, rejected } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const viewer = await server.enter(room, 'viewer', { capabilities: undefined });
  const sender = await server.enter(room, 'sender', { capabilities: ['SEND_MESSAGE'] });

  for (const refused of [
    [viewer, (r) => r.sendMessage(new SendMessageRequest('hi'))],
    [viewer, (r) => r.deleteMessage(new DeleteMessageRequest('M2YcHkgffEvU'))],
    [viewer, (r) => r.disconnectUser(new DisconnectUserRequest('sender'))],
    [sender, (r) => r.deleteMessage(new DeleteMessageRequest('M2YcHkgffEvU'))],
    [sender, (r) => r.disconnectUser(new DisconnectUserRequest('viewer'))],
  ]) {
    const [visitor, request] = refused;
    const error = await rejected(request(visitor.room));
    assert.equal(error.errorCode, 403);
    assert.ok(error.errorMessage);
    assert.ok(error.requestId);
  }
  await sender.send(new SendMessageRequest('for all to see'));
  assert.equal((await viewer.next('message')).content, 'for all to see');
  assert.equal(viewer.room.state, 'connected');
}
