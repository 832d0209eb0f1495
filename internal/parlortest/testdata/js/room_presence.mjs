// Who is in a room is told by ordinary events, and a user's oldest connection, once there
// are too many, ends for good: the SDK does not come back and drive out the next.
import assert from 'node:assert/strict';
import { TagResourceCommand, UntagResourceCommand } from '@aws-sdk/client-ivschat';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, rejected } from './lib.mjs';

const pause = (seconds) => new Promise((f) => setTimeout(f, seconds * 1000));

// presence resolves with the first event of presence that tells so many users and connections.
async function presence(visitor, users, connections) {
  for (;;) {
    const event = await visitor.next('event');
    assert.equal(event.eventName, 'parlor:PRESENCE');
    assert.ok(event.sendTime instanceof Date);
    if (event.attributes.Users === `${users}` && event.attributes.Connections === `${connections}`) return event;
  }
}

export default async function () {
  const server = new Server();
  const room = await server.room({ tags: { 'parlor:presence': 'list' } });
  const ann = await server.enter(room, 'ann');
  const first = await presence(ann, 1, 1);
  assert.deepEqual(JSON.parse(first.attributes.Joined), ['ann']);
  assert.deepEqual(JSON.parse(first.attributes.Left), []);

  const bobs = [await server.enter(room, 'bob')];
  const second = await presence(ann, 2, 2);
  assert.deepEqual(JSON.parse(second.attributes.Joined), ['bob']);
  await presence(bobs[0], 2, 2); // the newcomer too

  await server.aws.send(new TagResourceCommand({ resourceArn: room, tags: { 'parlor:max-connections-per-user': '2' } }));
  for (let i = 0; i < 2; i++) {
    bobs.push(await server.enter(room, 'bob'));
    await pause(0.1);
  }
  assert.equal(await bobs[0].next('disconnect'), 'serverDisconnect');
  await presence(ann, 2, 3);
  await pause(4); // time for a reconnect, were there one
  assert.equal(bobs[0].tokens, 1);
  assert.deepEqual(bobs.map((b) => b.room.state), ['disconnected', 'connected', 'connected']);
  for (const bob of bobs.slice(1)) await bob.send(new SendMessageRequest('still here'));

  bobs.slice(1).forEach((bob) => bob.room.disconnect());
  const last = await presence(ann, 1, 1);
  assert.deepEqual(JSON.parse(last.attributes.Left), ['bob']);

  await server.aws.send(new UntagResourceCommand({ resourceArn: room, tagKeys: ['parlor:presence'] }));
  await pause(1);
  await server.enter(room, 'cid');
  await pause(3);
  assert.deepEqual(ann.all('event'), []);

  for (const [tags, text] of [
    [{ 'parlor:presence': 'yes' }, /parlor:presence must be count or list/],
    [{ 'parlor:max-connections-per-user': '0' }, /parlor:max-connections-per-user must be a whole number between 1 and 100/],
  ]) {
    const error = await rejected(server.aws.send(new TagResourceCommand({ resourceArn: room, tags })));
    assert.equal(error.name, 'ValidationException');
    assert.match(error.message, text);
  }
}
