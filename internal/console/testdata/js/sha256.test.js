import assert from 'node:assert/strict';
import { createHash, createHmac, randomBytes } from 'node:crypto';
import { test } from 'node:test';

import { hex, hmac, sha256 } from '../../assets/js/sha256.js';

test('digests of every length around blocks are those of Node', () => {
  for (let length = 0; length < 300; length++) {
    const bytes = randomBytes(length);
    assert.equal(hex(sha256(bytes)), createHash('sha256').update(bytes).digest('hex'), `${length} bytes`);
  }
  const large = randomBytes(200_001);
  assert.equal(hex(sha256(large)), createHash('sha256').update(large).digest('hex'));
});

test('HMACs under keys of every length around a block are those of Node', () => {
  for (let length = 0; length < 140; length++) {
    const [key, bytes] = [randomBytes(length), randomBytes(length * 3)];
    assert.equal(hex(hmac(key, bytes)), createHmac('sha256', key).update(bytes).digest('hex'), `a key of ${length} bytes`);
  }
});

test('FIPS 180-4', () => {
  assert.equal(hex(sha256(new TextEncoder().encode('abc'))), 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
});
