// An application that passes tokenExpirationTime on makes the SDK open its next
// connection before the token ends and then close the first. While both are open each
// frame comes twice with one Id, and the application is shown it once; none is missed.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { Server, Visitor } from './lib.mjs';

const refreshes = 3;

export default async function () {
  const server = new Server('SHORT'); // tokens of 33 s: the SDK refreshes 30 s before
  const room = await server.room();
  const sender = await server.enter(room, 'sender');

  let stopAt = Infinity;
  // Connections take their time to open, so that there is an overlap worth the name.
  const ann = new Visitor(`${server.webSocketURL}/?slow-open=400`, async () => {
    const answer = await server.token(room, 'ann');
    if (ann.tokens === 1 + refreshes) stopAt = Date.now() + 1500; // the last overlap included
    return { token: answer.token, tokenExpirationTime: answer.tokenExpirationTime, sessionExpirationTime: answer.sessionExpirationTime };
  });
  let twice = 0; // frames that came on a second connection
  ann.room.logLevel = 'debug';
  ann.room.logger = { info() {}, error() {}, debug: (text) => { twice += /already received/.test(text); } };
  const got = [];
  ann.room.addListener('message', (message) => got.push(message.content));
  ann.connect();
  await ann.next('connect');

  const want = [];
  const own = [];
  for (let n = 0; Date.now() < stopAt; n++) {
    want.push(`${n}`);
    await sender.send(new SendMessageRequest(`${n}`));
    if (n % 2) {
      want.push(`own ${n}`);
      own.push(ann.send(new SendMessageRequest(`own ${n}`))); // on whichever connection is current
    }
    await new Promise((next) => setTimeout(next, 130)); // ten requests a second are allowed
  }
  await Promise.all(own);
  while (!got.includes(want.at(-1))) await ann.next('message');
  assert.deepEqual([...got].sort(), [...want].sort()); // nothing lost, nothing twice
  assert.ok(twice > 0, 'no frame came on both connections: nothing was proven');
  assert.ok(ann.tokens >= 1 + refreshes);
  assert.equal(ann.all('disconnect').length, 0);
  assert.equal(ann.room.state, 'connected');
  ann.room.disconnect(); // or it refreshes for as long as others run
}
