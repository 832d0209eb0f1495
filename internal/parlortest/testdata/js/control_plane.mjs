// @aws-sdk/client-ivschat: all 17 operations, typed errors, paging.
import assert from 'node:assert/strict';
import * as ivschat from '@aws-sdk/client-ivschat';
import { Server, id, rejected } from './lib.mjs';

export default async function () {
  const server = new Server('ALONE');
  const call = (operation, input) => server.aws.send(new ivschat[`${operation}Command`](input));
  const uri = 'arn:aws:lambda:us-west-2:123456789012:function:review';

  const lc = await call('CreateLoggingConfiguration', { name: 'logs', destinationConfiguration: { s3: { bucketName: 'chat-logs' } }, tags: { a: 'b' } });
  assert.equal(lc.state, 'ACTIVE');
  assert.ok(lc.createTime instanceof Date);
  const changed = await call('UpdateLoggingConfiguration', { identifier: lc.arn, destinationConfiguration: { cloudWatchLogs: { logGroupName: '/chat' } } });
  assert.deepEqual(changed.destinationConfiguration, { cloudWatchLogs: { logGroupName: '/chat' } });
  const { $metadata: _, ...got } = await call('GetLoggingConfiguration', { identifier: lc.arn });
  assert.deepEqual(got, { ...got, name: 'logs', tags: { a: 'b' }, arn: lc.arn, id: lc.id, updateTime: changed.updateTime, createTime: lc.createTime });
  assert.deepEqual((await call('ListLoggingConfigurations', {})).loggingConfigurations, [got]);

  const room = await call('CreateRoom', {
    name: 'lobby', maximumMessageLength: 200, messageReviewHandler: { uri, fallbackResult: 'DENY' },
    loggingConfigurationIdentifiers: [lc.arn], tags: { team: 'live ✓' },
  });
  assert.match(room.id, id);
  assert.ok(room.$metadata.requestId);
  const read = await call('GetRoom', { identifier: room.arn });
  assert.deepEqual({ ...read, $metadata: 0 }, { ...room, $metadata: 0 });
  assert.equal(read.maximumMessageRatePerSecond, 10);
  const updated = await call('UpdateRoom', { identifier: room.arn, name: '', messageReviewHandler: { uri: '' }, loggingConfigurationIdentifiers: [] });
  assert.equal(updated.name, '');
  assert.equal(updated.maximumMessageLength, 200);
  assert.equal(updated.messageReviewHandler?.uri ?? '', '');
  assert.ok(updated.updateTime > room.updateTime);

  await call('TagResource', { resourceArn: room.arn, tags: { 'k v/é': '1', gone: '' } });
  await call('UntagResource', { resourceArn: room.arn, tagKeys: ['gone', 'never & there'] });
  assert.deepEqual((await call('ListTagsForResource', { resourceArn: room.arn })).tags, { team: 'live ✓', 'k v/é': '1' });

  const token = await call('CreateChatToken', { roomIdentifier: room.arn, userId: 'ann', sessionDurationInMinutes: 180, capabilities: ['SEND_MESSAGE'] });
  assert.match(token.token, /^[-.\w]+$/);
  assert.equal(token.sessionExpirationTime - token.tokenExpirationTime, 2 * 3600 * 1000);
  assert.match((await call('SendEvent', { roomIdentifier: room.arn, eventName: 'x' })).id, id);
  assert.match((await call('DeleteMessage', { roomIdentifier: room.arn, id: 'M2YcHkgffEvU' })).id, id);
  await call('DisconnectUser', { roomIdentifier: room.arn, userId: 'ann' });

  const more = [];
  for (let n = 0; n < 6; n++) more.unshift((await call('CreateRoom', { name: `page-${n}` })).arn);
  const paged = [];
  for (let nextToken; ;) {
    const page = await call('ListRooms', { maxResults: 3, nextToken });
    paged.push(...page.rooms.map((r) => r.arn));
    if (!(nextToken = page.nextToken)) break;
  }
  assert.deepEqual(paged, [...more, room.arn]);
  assert.deepEqual((await call('ListRooms', { name: 'page-3' })).rooms.map((r) => r.arn), [more[2]]);

  const invalid = await rejected(call('CreateRoom', { name: 'a b', maximumMessageLength: 501 }));
  assert.ok(invalid instanceof ivschat.ValidationException);
  assert.equal(invalid.reason, 'FIELD_VALIDATION_FAILED');
  assert.deepEqual(invalid.fieldList.map((f) => f.name), ['name', 'maximumMessageLength']);
  await call('UpdateRoom', { identifier: more[0], loggingConfigurationIdentifiers: [lc.arn] });
  const conflict = await rejected(call('DeleteLoggingConfiguration', { identifier: lc.arn }));
  assert.ok(conflict instanceof ivschat.ConflictException);
  assert.equal(conflict.resourceId, lc.id);
  for (const identifier of [...more, room.arn]) await call('DeleteRoom', { identifier });
  await call('DeleteLoggingConfiguration', { identifier: lc.arn });
  const missing = await rejected(call('GetRoom', { identifier: room.arn }));
  assert.ok(missing instanceof ivschat.ResourceNotFoundException);
  assert.equal(missing.resourceId, room.id);
  assert.equal(missing.resourceType, 'ROOM');
  assert.deepEqual((await call('ListRooms', {})).rooms, []);
}
