// What is longer than the room allows is refused with 400 and the text that AWS's own demo
// compares with; length is counted in code points.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { UpdateRoomCommand } from '@aws-sdk/client-ivschat';
import { Server, rejected } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room({ maximumMessageLength: 20 });
  const ann = await server.enter(room, 'ann');

  assert.equal((await ann.send(new SendMessageRequest('🙂'.repeat(20)))).content.length, 40);
  const tooLong = await rejected(ann.send(new SendMessageRequest('x'.repeat(21))));
  assert.equal(tooLong.errorCode, 400);
  assert.equal(tooLong.errorMessage, 'Message exceeds maximum length');
  assert.equal((await rejected(ann.send(new SendMessageRequest('')))).errorCode, 400);
  assert.equal((await rejected(ann.send(new SendMessageRequest('x', { k: 'v'.repeat(1024) })))).errorCode, 413);

  await server.aws.send(new UpdateRoomCommand({ identifier: room, maximumMessageLength: 21 }));
  await ann.send(new SendMessageRequest('x'.repeat(21)));
}
