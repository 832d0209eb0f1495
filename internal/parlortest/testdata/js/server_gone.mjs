// Nobody answers: the SDK tries three times more and reports socketError. A backend that
// gives no token ends in fetchTokenError.
import assert from 'node:assert/strict';
import { Visitor } from './lib.mjs';

export default async function () {
  const nobody = new Visitor(process.env.NOBODY_WS, async () => ({ token: 'x' }));
  nobody.connect();
  assert.equal(await nobody.next('disconnect'), 'socketError');
  assert.equal(nobody.tokens, 4);
  const none = new Visitor(process.env.NOBODY_WS, async () => { throw new Error('no'); });
  none.connect();
  assert.equal(await none.next('disconnect'), 'fetchTokenError');
  assert.equal(none.tokens, 4);
}
