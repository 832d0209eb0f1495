import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { cliCommand } from '../../assets/js/cli.js';

// A command named aws that prints what a shell gave it.
const bin = mkdtempSync(join(tmpdir(), 'aws-'));
writeFileSync(join(bin, 'aws'), `#!${process.execPath}\nprocess.stdout.write(JSON.stringify(process.argv.slice(2)));\n`, { mode: 0o755 });
const given = (command) => JSON.parse(execFileSync('/bin/sh', ['-c', command], { env: { PATH: bin }, encoding: 'utf8' }));

const words = (operation, input) => given(cliCommand(operation, input, 'us-west-2', 'http://127.0.0.1:4870'));
const end = ['--region', 'us-west-2', '--endpoint-url', 'http://127.0.0.1:4870'];

test('a shell gives the command what was meant', () => {
  const nasty = [
    'plain', 'two words', "it's", '"quoted"', '$HOME `id` $(id)', 'a\nb', '\\', '*', '~', '!', '#x', 'a;b&c|d>e', '\u202eright to left', '😀', "'", "''", 'tab\there', '%s', 'a{b,c}',
  ];
  for (const value of nasty) {
    assert.deepEqual(words('CreateRoom', { name: value }), ['ivschat', 'create-room', '--name', value, ...end], value);
    assert.deepEqual(words('UntagResource', { resourceArn: 'arn:a', tagKeys: [value, 'b'] }), ['ivschat', 'untag-resource', '--resource-arn', 'arn:a', '--tag-keys', value, 'b', ...end], value);
    assert.deepEqual(words('CreateRoom', { tags: { [value]: value } }), ['ivschat', 'create-room', '--tags', JSON.stringify({ [value]: value }), ...end], value);
  }
});

test('names are those of the AWS CLI', () => {
  assert.deepEqual(words('CreateChatToken', { roomIdentifier: 'arn:aws:ivschat:us-west-2:1:room/a', sessionDurationInMinutes: 60, capabilities: [], userId: undefined }),
    ['ivschat', 'create-chat-token', '--room-identifier', 'arn:aws:ivschat:us-west-2:1:room/a', '--session-duration-in-minutes', '60', '--capabilities', '[]', ...end]);
  assert.deepEqual(words('UpdateRoom', { identifier: 'a', messageReviewHandler: { uri: '', fallbackResult: 'ALLOW' } }).slice(4, 6),
    ['--message-review-handler', '{"uri":"","fallbackResult":"ALLOW"}']);
});

test('what the AWS CLI would take for something else is given as JSON', () => {
  for (const value of ['-x', '--debug', 'file:///etc/passwd', 'fileb://x', '[x', '{']) {
    const input = { roomIdentifier: 'arn', userId: value };
    assert.deepEqual(words('CreateChatToken', input), ['ivschat', 'create-chat-token', '--cli-input-json', JSON.stringify(input), ...end], value);
    const tags = { resourceArn: 'arn', tagKeys: ['a', value] };
    assert.deepEqual(words('UntagResource', tags), ['ivschat', 'untag-resource', '--cli-input-json', JSON.stringify(tags), ...end], value);
  }
});

test('there is no command for what only Parlor has', () => {
  assert.equal(cliCommand('DescribeNode', {}, 'us-west-2', 'http://127.0.0.1'), '');
});

test('what the AWS CLI would fetch is said as JSON, and no number is none', () => {
  for (const reason of ['https://example.com/x', 'http://127.0.0.1/x', ' {a}']) {
    assert.deepEqual(words('DeleteMessage', { id: 'x', reason }), ['ivschat', 'delete-message', '--cli-input-json', JSON.stringify({ id: 'x', reason }), ...end]);
  }
  assert.deepEqual(words('CreateRoom', { name: 'a', maximumMessageLength: NaN }), ['ivschat', 'create-room', '--name', 'a', ...end]);
  assert.deepEqual(words('CreateRoom', { name: '-a', maximumMessageLength: NaN }), ['ivschat', 'create-room', '--cli-input-json', '{"name":"-a"}', ...end]);
});

test('what only Parlor has is a command of parlor', () => {
  const command = (operation, input) => cliCommand(operation, input, 'us-west-2', 'http://127.0.0.1:4870');
  assert.equal(command('BanUser', { userId: "-o'neill", roomIdentifier: 'arn:aws:ivschat:us-west-2:1:room/a', durationInSeconds: 600, reason: 'too loud' }),
    `AWS_REGION=us-west-2 parlor ban --room=arn:aws:ivschat:us-west-2:1:room/a --for=600s --reason='too loud' --endpoint=http://127.0.0.1:4870 -- '-o'\\''neill'`);
  assert.equal(command('UnmuteUser', { userId: 'u', roomIdentifier: undefined }), 'AWS_REGION=us-west-2 parlor unmute --endpoint=http://127.0.0.1:4870 -- u');
  assert.equal(command('ListBans', { kind: 'BAN', userId: 'u' }), 'AWS_REGION=us-west-2 parlor bans --kind=BAN --user=u --endpoint=http://127.0.0.1:4870');
});
