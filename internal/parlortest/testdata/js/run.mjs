// Runs the scenarios named on the command line side by side, each against rooms of its
// own, and prints one line of JSON for each: {name, ok, ms, error}.
import WebSocket from 'ws';
import { bound } from './lib.mjs';

// Browsers have it, Node only since 22. Every scenario goes through the same one, so
// that what is tested does not depend on Node's version.
globalThis.WebSocket = class extends WebSocket {
  // A slow network, where a scenario asks for it in its URL: the client hears of an open
  // connection some time after the server did, and of frames as they come.
  addEventListener(type, listener, options) {
    const slow = Number(new URL(this.url).searchParams.get('slow-open'));
    if (type !== 'open' || !slow) return super.addEventListener(type, listener, options);
    return super.addEventListener(type, (event) => setTimeout(listener, slow, event), options);
  }
};

let failed = false;
await Promise.all(process.argv.slice(2).map(async (name) => {
  const begun = performance.now();
  let error;
  try {
    const { default: scenario, seconds = 45 } = await import(`./${name}.mjs`);
    await bound(scenario(), seconds, 'the scenario');
  } catch (e) {
    failed = true;
    error = e?.stack ?? JSON.stringify(e); // an SDK's ChatError is a plain object
  }
  console.log(JSON.stringify({ name, ok: !error, ms: Math.round(performance.now() - begun), error }));
}));
process.exit(failed ? 1 : 0); // connections that a scenario left are nobody's business
