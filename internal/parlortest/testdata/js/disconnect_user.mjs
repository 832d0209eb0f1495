// disconnectUser resolves; the user hears why, is disconnected by the server, and the
// SDK does not come back by itself.
import assert from 'node:assert/strict';
import { DisconnectUserRequest, SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { DisconnectUserCommand } from '@aws-sdk/client-ivschat';
import { Server, bound } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const watcher = await server.enter(room, 'watcher');
  const moderator = await server.enter(room, 'moderator');

  const kickers = {
    ann: async () => {
      const request = new DisconnectUserRequest('ann', 'too loud ✓');
      const done = await bound(moderator.room.disconnectUser(request), 30, 'disconnectUser');
      assert.equal(done.userId, 'ann');
      assert.equal(done.reason, 'too loud ✓');
      assert.equal(done.requestId, request.requestId);
    },
    bob: () => server.aws.send(new DisconnectUserCommand({ roomIdentifier: room, userId: 'bob', reason: 'too loud ✓' })),
  };
  for (const [user, kick] of Object.entries(kickers)) {
    // Every connection of the user ends.
    const kicked = [await server.enter(room, user), await server.enter(room, user)];
    await kick();
    for (const visitor of [...kicked, watcher]) {
      const event = await visitor.next('userDisconnect');
      assert.equal(event.userId, user);
      assert.equal(event.reason, 'too loud ✓');
      assert.ok(event.sendTime instanceof Date);
    }
    for (const visitor of kicked) {
      assert.equal(await visitor.next('disconnect'), 'serverDisconnect');
      assert.equal(visitor.room.state, 'disconnected');
    }
    await watcher.send(new SendMessageRequest('still here')); // time for a reconnect, were there one
    for (const visitor of kicked) {
      assert.equal(visitor.tokens, 1);
      assert.equal(visitor.room.state, 'disconnected');
    }
    // The application may let the user in again, with a new token.
    kicked[0].connect();
    await kicked[0].next('connect');
    await kicked[0].send(new SendMessageRequest('back'));
  }

  // Nobody of that name is there: the promise resolves all the same.
  await bound(moderator.room.disconnectUser(new DisconnectUserRequest('nobody')), 30, 'disconnectUser');
  // A moderator who ends the own session is answered first.
  const self = await bound(moderator.room.disconnectUser(new DisconnectUserRequest('moderator', 'bye')), 30, 'disconnectUser');
  assert.equal(self.userId, 'moderator');
  assert.equal(await moderator.next('disconnect'), 'serverDisconnect');
}
