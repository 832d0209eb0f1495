// What joining a room with a history shows through the unmodified SDK: the end of what was
// said, as ordinary messages and events with their own Ids and times, and then what comes.
import assert from 'node:assert/strict';
import { DeleteMessageRequest, DisconnectUserRequest, SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { SendEventCommand } from '@aws-sdk/client-ivschat';
import { Server, Visitor, bound } from './lib.mjs';

/** talk has a room talk that keeps four, and checks what is told to who joins each of the
 * servers then, one after the other. */
export async function talk(...servers) {
  const [server] = servers;
  const room = await server.room({ tags: { 'parlor:history': '4' } });
  const ann = await server.enter(room, 'ann');
  const shown = [];
  for (const content of ['too old', 'first', 'rude']) {
    shown.push(await ann.send(new SendMessageRequest(content, { tone: 'calm' })));
  }
  await server.aws.send(new SendEventCommand({ roomIdentifier: room, eventName: 'app:goal', attributes: { score: '1' } }));
  shown.push(await ann.next('event'));
  await bound(ann.room.disconnectUser(new DisconnectUserRequest('nobody')), 30, 'disconnectUser');
  shown.push(await ann.send(new SendMessageRequest('last')));
  const { id: rude } = shown[2];
  await bound(ann.room.deleteMessage(new DeleteMessageRequest(rude)), 30, 'deleteMessage');

  for (const at of servers) {
    for (const slow of ['', '/?slow-open=300']) { // the client hears of frames before it knows that it is connected
      const seen = [];
      const late = new Visitor(at.webSocketURL + slow, async () => ({ token: (await at.token(room, 'late')).token }));
      for (const name of ['message', 'event', 'messageDelete', 'userDisconnect']) {
        late.room.addListener(name, (payload) => seen.push([name, payload]));
      }
      late.connect();
      await late.next('connect');
      shown.push(await ann.send(new SendMessageRequest('live')));
      const live = shown.at(-1);
      for (const begun = Date.now(); !seen.some(([, { id }]) => id === live.id);) {
        assert.ok(Date.now() - begun < 20_000, `the live message does not come, after ${JSON.stringify(seen)}`);
        await new Promise((next) => setTimeout(next, 10));
      }
      const want = shown.slice(-5).filter(({ id }) => id !== rude); // four, and the live one
      assert.deepEqual(seen.map(([, { id }]) => id), want.map(({ id }) => id));
      for (const [i, [name, got]] of seen.entries()) {
        assert.equal(name, want[i].eventName ? 'event' : 'message');
        assert.equal(got.eventName, want[i].eventName);
        assert.equal(got.content, want[i].content);
        assert.equal(got.sender?.userId, want[i].sender?.userId);
        assert.equal(got.sendTime.getTime(), want[i].sendTime.getTime());
        assert.deepEqual({ ...got.attributes }, { ...want[i].attributes });
        if (got.id !== live.id) assert.ok(!got.requestId);
      }
      late.room.disconnect();
    }
  }
}

export default () => talk(new Server('A'), new Server('B'), new Server('C'));
