// A ban ends the sessions of a user, whose SDK stays away and gets no new token; who is
// muted is told so by a promise that rejects, and hears on.
import assert from 'node:assert/strict';
import { SendMessageRequest, DisconnectUserRequest } from 'amazon-ivs-chat-messaging';
import { Server, Visitor, bound, own, rejected } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const watcher = await server.enter(room, 'watcher');

  for (const [user, roomIdentifier] of [['ann', room], ['banned everywhere', undefined]]) {
    const visitors = [await server.enter(room, user), await server.enter(room, user)];
    await own(server, 'BanUser', { userId: user, roomIdentifier, durationInSeconds: 3600, reason: 'too loud ✓' });
    for (const visitor of visitors) {
      assert.equal(await visitor.next('disconnect'), 'serverDisconnect');
      assert.equal(visitor.room.state, 'disconnected');
      assert.deepEqual(visitor.all('userDisconnect'), []);
    }
    await watcher.send(new SendMessageRequest('still here')); // time for a reconnect, were there one
    for (const visitor of visitors) assert.equal(visitor.tokens, 1);
    const refused = await rejected(server.token(room, user));
    assert.equal(refused.name, 'AccessDeniedException');
    assert.equal(refused.$metadata.httpStatusCode, 403);
    assert.match(refused.message, new RegExp(`The user ${user} is banned from .* until 20`));

    await own(server, 'UnbanUser', { userId: user, roomIdentifier });
    visitors[0].connect();
    await visitors[0].next('connect');
    await visitors[0].send(new SendMessageRequest('back'));
  }
  assert.deepEqual(watcher.all('event'), []); // nobody else saw any of it

  // A token from before the ban opens nothing.
  const { token } = await server.token(room, 'eve');
  await own(server, 'BanUser', { userId: 'eve', roomIdentifier: room });
  const eve = new Visitor(server.webSocketURL, async () => ({ token }));
  eve.connect();
  await eve.next('disconnect');
  assert.deepEqual(eve.all('connect'), []);

  const carl = await server.enter(room, 'carl');
  await own(server, 'MuteUser', { userId: 'carl', roomIdentifier: room, durationInSeconds: 3600 });
  const muted = await rejected(bound(carl.room.sendMessage(new SendMessageRequest('hello')), 30, 'sendMessage'));
  assert.equal(muted.errorCode, 403);
  assert.match(muted.errorMessage, /^You are muted until 20.*Z\.$/);
  await watcher.send(new SendMessageRequest('for carl'));
  for (let heard; heard !== 'for carl';) heard = (await carl.next('message')).content;
  await own(server, 'UnmuteUser', { userId: 'carl', roomIdentifier: room });
  await carl.send(new SendMessageRequest('hello'));

  // In a room whose tag says so a moderator's disconnect bans too.
  const strict = await server.room({ tags: { 'parlor:ban-on-disconnect': '30d' } });
  const moderator = await server.enter(strict, 'moderator');
  const dora = await server.enter(strict, 'dora');
  await bound(moderator.room.disconnectUser(new DisconnectUserRequest('dora', 'bye')), 30, 'disconnectUser');
  assert.equal((await dora.next('userDisconnect')).reason, 'bye');
  assert.equal(await dora.next('disconnect'), 'serverDisconnect');
  assert.equal((await rejected(server.token(strict, 'dora'))).name, 'AccessDeniedException');
  const { bans } = await own(server, 'ListBans', { roomIdentifier: strict });
  assert.equal(bans.length, 1);
  assert.equal(bans[0].createdBy, 'moderator');
  assert.equal(bans[0].reason, 'bye');
  assert.equal(new Date(bans[0].expireTime) - new Date(bans[0].createTime), 30 * 24 * 3600 * 1000);
}
