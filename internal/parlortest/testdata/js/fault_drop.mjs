// A connection that breaks: the SDK connects again by itself, with a fresh token, and goes
// on.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const [ann, bob] = [await server.enter(room, 'ann'), await server.enter(room, 'bob')];
  assert.equal((await server.inject({ fault: 'drop', room, user: 'ann' })).connections, 1);
  await ann.next('connecting');
  await ann.next('connect');
  assert.equal(ann.tokens, 2);
  assert.equal(ann.all('disconnect').length, 0);
  assert.equal(bob.tokens, 1);
  assert.equal(bob.room.state, 'connected');
  await ann.send(new SendMessageRequest('back'));
  assert.equal((await bob.next('message')).content, 'back');
}
