// What tags switch on in a room reaches the unmodified SDK as ordinary messages and
// errors, and acts on connections that stand.
import assert from 'node:assert/strict';
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { CreateRoomCommand, TagResourceCommand, UntagResourceCommand } from '@aws-sdk/client-ivschat';
import { Server, rejected } from './lib.mjs';

export default async function () {
  const server = new Server();
  const room = await server.room();
  const ann = await server.enter(room, 'ann', { capabilities: ['SEND_MESSAGE'] });
  const mod = await server.enter(room, 'mod');
  const tag = (tags) => server.aws.send(new TagResourceCommand({ resourceArn: room, tags }));
  const say = (who, content) => who.send(new SendMessageRequest(content));
  const refused = async (who, content, code, text) => {
    const error = await rejected(say(who, content));
    assert.equal(error.errorCode, code);
    assert.match(error.errorMessage, text);
  };

  await tag({ 'parlor:slow-mode': '1m' });
  await say(ann, 'once');
  await refused(ann, 'twice', 429, /^The room is in slow mode: you may send a message again in (60|59|58) s\.$/);
  await say(mod, 'as often');
  await say(mod, 'as I like');

  await tag({ 'parlor:slow-mode': '1s', 'parlor:read-only': 'true' });
  await refused(ann, 'anything', 403, /^The room is read-only\.$/);
  await say(mod, 'an announcement');

  await tag({ 'parlor:read-only': 'false', 'parlor:duplicate-window': '1m' });
  await server.aws.send(new UntagResourceCommand({ resourceArn: room, tagKeys: ['parlor:slow-mode'] }));
  await say(ann, 'spam');
  await refused(ann, 'spam', 406, /^You have just said the same\.$/);
  await say(ann, 'no spam');

  await tag({ 'parlor:filter': 'family' });
  assert.equal((await say(ann, 'well, DARN it')).content, 'well, **** it');
  assert.equal((await say(ann, 'see example.org/x')).attributes['parlor:flag'], 'links');
  await refused(ann, 'free nitro', 406, /^No advertising\.$/);
  assert.equal((await say(mod, 'free nitro')).content, 'free nitro');

  for (const [tags, text] of [
    [{ 'parlor:slow-mode': 'slow' }, /parlor:slow-mode must be a time between 1s and 6h/],
    [{ 'parlor:slowmode': '5s' }, /parlor:slowmode is not known/],
    [{ 'parlor:filter': 'nobody' }, /parlor:filter must be the name of a set of rules/],
  ]) {
    for (const call of [() => tag(tags), () => server.aws.send(new CreateRoomCommand({ tags }))]) {
      const error = await rejected(call());
      assert.equal(error.name, 'ValidationException');
      assert.match(error.message, text);
      assert.equal(error.fieldList[0].name, 'tags');
    }
  }
}
