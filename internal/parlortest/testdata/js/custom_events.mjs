// SendEvent arrives as the SDK's "event", with its name and attributes.
import assert from 'node:assert/strict';
import { SendEventCommand } from '@aws-sdk/client-ivschat';
import { Server } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const ann = await server.enter(room, 'ann', { capabilities: [] });
  const bob = await server.enter(room, 'bob');

  const attributes = { team: 'rød & <hvid>', score: '3' };
  const { id } = await server.aws.send(new SendEventCommand({ roomIdentifier: room, eventName: 'app:goal', attributes }));
  const bare = await server.aws.send(new SendEventCommand({ roomIdentifier: room, eventName: 'app:whistle' }));
  for (const visitor of [ann, bob]) {
    const event = await visitor.next('event');
    assert.equal(event.id, id);
    assert.equal(event.eventName, 'app:goal');
    assert.deepEqual({ ...event.attributes }, attributes);
    assert.ok(event.sendTime instanceof Date);
    assert.ok(!event.requestId);
    const second = await visitor.next('event');
    assert.equal(second.id, bare.id);
    assert.equal(second.eventName, 'app:whistle');
    assert.ok(second.attributes == null || Object.keys(second.attributes).length === 0);
  }
}
