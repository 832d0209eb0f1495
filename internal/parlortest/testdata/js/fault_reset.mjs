// A reset ends the sessions as when their room is deleted: the SDK stays away. The server is
// this scenario's own.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server } from './lib.mjs';

export default async function () {
  const server = new Server('RESET');
  for (let i = 0; i < 3; i++) {
    const room = await server.room();
    const ann = await server.enter(room, 'ann');
    await ann.send(new SendMessageRequest('before'));
    assert.equal((await server.reset()).connections, 1);
    assert.equal(await ann.next('disconnect'), 'serverDisconnect');
    assert.equal(ann.tokens, 1);
    await assert.rejects(server.token(room, 'ann'), { name: 'ResourceNotFoundException' });
  }
}
