import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import { authorization, escape } from '../../assets/js/sigv4.js';

const suite = process.env.SIGV4_SUITE; // a directory for each of AWS's examples

// What a browser does to an address, and to headers, before it sends them. The console
// sends neither.
const done = (name) => /(relative|slash|slashes|dot).*-normalized$/.test(name) || name.startsWith('get-header-');

test('the examples of AWS', { skip: suite ? false : 'they are not here' }, async (t) => {
  let tried = 0;
  for (const name of readdirSync(suite, { withFileTypes: true }).filter((entry) => entry.isDirectory()).map((entry) => entry.name)) {
    if (done(name)) continue;
    tried++;
    await t.test(name, () => {
      const context = JSON.parse(readFileSync(join(suite, name, 'context.json'), 'utf8'));
      const [head, body] = readFileSync(join(suite, name, 'header-signed-request.txt'), 'utf8').split('\n\n');
      const [line, ...fields] = head.split('\n');
      const [, method, path, query] = /^(\S+) ([^?]*)\??(.*) HTTP\/1.1$/.exec(line);
      const all = Object.fromEntries(fields.map((field) => [field.slice(0, field.indexOf(':')).toLowerCase(), field.slice(field.indexOf(':') + 1).trim()]));
      const { authorization: want, ...rest } = all;
      const names = /SignedHeaders=([^,]*)/.exec(want)[1].split(';');
      const headers = Object.fromEntries(names.map((n) => [n, rest[n]]));
      const key = { accessKey: context.credentials.access_key_id, secret: context.credentials.secret_access_key };
      // The caller escapes and sorts, by name and then by value.
      const parts = query.split('&').filter(Boolean).map((part) => part.split('=').map((p) => escape(decodeURIComponent(p))));
      const sorted = parts.sort((a, b) => (a[0] === b[0] ? Number(a[1] > b[1]) : Number(a[0] > b[0]) || -1)).map((part) => part.join('=')).join('&');
      assert.equal(authorization({ method, path, query: sorted, body, headers }, key, context.region, context.service), want);
    });
  }
  assert.ok(tried >= 20, `${tried} were tried`);
});
