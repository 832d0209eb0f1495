// Message review: one room for each row that the test gives, whose handler does what the
// row is about. Prints a line for each, as run.mjs does for scenarios.
import assert from 'node:assert/strict';
import { DeleteMessageRequest, DisconnectUserRequest, SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, bound, id, rejected } from './lib.mjs';

async function review({ uri, fallback, content, attributes, reason }) {
  const server = new Server();
  const room = await server.room({ maximumMessageLength: 20, messageReviewHandler: { uri, fallbackResult: fallback } });
  const ann = await server.enter(room, 'ann', { attributes: { name: 'Ann é' } });
  const bob = await server.enter(room, 'bob');
  const heard = [];
  bob.room.addListener('message', (message) => heard.push(message));

  const request = new SendMessageRequest('original <1>', { k: 'v' });
  let got;
  if (reason === undefined) {
    got = await ann.send(request);
    assert.equal(got.content, content);
    assert.deepEqual({ ...got.attributes }, attributes ?? {});
    assert.equal(got.sender.userId, 'ann');
    assert.ok(got.sendTime instanceof Date);
  } else {
    got = await rejected(ann.send(request));
    assert.equal(got.errorCode, 406);
    assert.equal(got.errorMessage, reason);
  }
  assert.match(got.id, id);
  assert.equal(got.requestId, request.requestId);

  // What moderators do is not reviewed, and comes when all that was allowed has come.
  await bound(ann.room.deleteMessage(new DeleteMessageRequest(got.id, 'not reviewed')), 30, 'deleteMessage');
  await bob.next('messageDelete');
  assert.deepEqual(heard.map((m) => [m.id, m.content]), reason === undefined ? [[got.id, content]] : []);
  if (heard.length) assert.deepEqual({ ...heard[0].attributes }, attributes ?? {});
  await bound(ann.room.disconnectUser(new DisconnectUserRequest('bob', 'not reviewed')), 30, 'disconnectUser');
  assert.equal(await bob.next('disconnect'), 'serverDisconnect');
  ann.room.disconnect();
  return { room, id: got.id };
}

/** order: what several users say as fast as they may is shown to all in the order that each said it. */
async function order(uri) {
  const server = new Server();
  const room = await server.room({ messageReviewHandler: { uri, fallbackResult: 'DENY' } });
  const watcher = await server.enter(room, 'watcher');
  const heard = {};
  watcher.room.addListener('message', (m) => (heard[m.sender.userId] ??= []).push(m.content));
  const users = ['ann', 'bob', 'carl', 'dora'];
  const allowed = {};
  await Promise.all(users.map(async (user) => {
    const visitor = await server.enter(room, user);
    const answered = [];
    for (let round = 0; round < 3; round++) {
      await Promise.all(Array.from({ length: 8 }, async (_, n) => {
        const content = `${round}.${n} ${user}`;
        try {
          await visitor.send(new SendMessageRequest(content));
          answered.push(content);
        } catch (e) {
          assert.equal(e.errorCode, 406, JSON.stringify(e));
        }
      }));
      await new Promise((wake) => setTimeout(wake, 1000)); // ten a second are allowed
    }
    assert.ok(answered.length > 0);
    assert.deepEqual(answered, answered.toSorted());
    allowed[user] = answered;
  }));
  await bound(watcher.room.deleteMessage(new DeleteMessageRequest('M2YcHkgffEvU')), 30, 'deleteMessage');
  assert.deepEqual(heard, Object.fromEntries(Object.keys(heard).map((user) => [user, allowed[user]])));
  return { room };
}

export const seconds = 300;

export default async function () {
  const rows = JSON.parse(process.env.REVIEW_ROWS);
  await Promise.all(Array.from({ length: 4 }, async () => {
    for (let row; (row = rows.shift());) {
      const begun = performance.now();
      let error, told;
      try {
        told = await bound(row.order ? order(row.uri) : review(row), 60, 'the row');
      } catch (e) {
        error = e?.stack ?? JSON.stringify(e);
      }
      console.log(JSON.stringify({ name: row.name, ok: !error, ms: Math.round(performance.now() - begun), error, ...told }));
    }
  }));
}
