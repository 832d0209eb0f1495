// The control plane, as any client of it sees it: signed requests of the public API,
// and the operations of Parlor's own.

import { sign, escape } from './sigv4.js';
import { text } from './text.js';

/** ApiError is an error that the API answered with; name is AWS's name of it. */
export class ApiError extends Error {
  constructor(name, message, status, requestId) {
    super(message);
    Object.assign(this, { name, status, requestId });
  }
}

const keyItem = 'parlor.key'; // of the tab: it is gone with it
const regionItem = 'parlor.region';

/** settings returns what the server says of itself: mode, version, region, account, regions, anyKey. */
export async function settings() {
  const answer = await fetch(new URL('../config.json', import.meta.url));
  if (!answer.ok) throw new Error(text.api.unreachable);
  return answer.json();
}

/**
 * connect returns an Api for the key that this tab is signed in with: in development
 * any will do. Where there is none it fails, with what to do.
 */
export async function connect() {
  const server = await settings();
  const key = savedKey(server);
  if (!key) throw new Error(text.api.signInFirst);
  return new Api(server, key);
}

/** savedKey is the key that this tab is signed in with, if any. */
export function savedKey(server) {
  const saved = sessionStorage.getItem(keyItem);
  if (saved) return JSON.parse(saved);
  return server.anyKey ? { accessKey: server.account, secret: 'parlor' } : undefined;
}

/** saveKey signs this tab in, or, without a key, out. */
export function saveKey(key) {
  if (key) sessionStorage.setItem(keyItem, JSON.stringify(key));
  else sessionStorage.removeItem(keyItem);
}

/** savedRegion is the region that was last looked at, or the server's. */
export const savedRegion = (server) => {
  const saved = localStorage.getItem(regionItem);
  return saved && (!server.regions?.length || server.regions.includes(saved)) ? saved : server.region;
};

export const saveRegion = (region) => localStorage.setItem(regionItem, region);

// How operations are sent whose members are not all in the body.
const tagsPath = (input) => '/tags/' + escape(input.resourceArn);
const shapes = {
  ListTagsForResource: (input) => ({ method: 'GET', path: tagsPath(input) }),
  TagResource: (input) => ({ method: 'POST', path: tagsPath(input), body: { tags: input.tags } }),
  UntagResource: (input) => ({
    method: 'DELETE', path: tagsPath(input),
    query: input.tagKeys.map((k) => 'tagKeys=' + escape(k)).sort().join('&'),
  }),
};

/** ours are the operations that only Parlor has. */
export const ours = new Set(['DescribeNode', 'DescribeToken', 'BanUser', 'UnbanUser', 'MuteUser', 'UnmuteUser', 'ListBans', 'PurgeUser']);

const patience = 30_000; // milliseconds that an answer may take
const tolerance = 240_000; // milliseconds that a clock may be wrong: the server takes five minutes

let ahead = 0; // milliseconds that the server's clock is before this one's, if it matters

// What is kept of the input of operations that are told a secret.
const secret = { DescribeToken: { token: '…' } };

/** Api calls the operations of a server with one key, in one region. */
export class Api extends EventTarget {
  constructor(server, key, region = savedRegion(server)) {
    super();
    Object.assign(this, { server, key, region });
    this.calls = []; // what was called, newest first; see record
  }

  /**
   * call calls an operation and returns its answer. A quiet call, one that is repeated
   * by itself, is not kept among the calls.
   */
  async call(operation, input = {}, { quiet = false, signal } = {}) {
    const limit = AbortSignal.timeout(patience);
    const within = signal ? AbortSignal.any([signal, limit]) : limit;
    const shape = shapes[operation]?.(input) ?? { method: 'POST', path: (ours.has(operation) ? '/parlor/' : '/') + operation, body: input };
    const body = shape.body && JSON.stringify(shape.body);
    const begun = new Date();
    const send = () => {
      const headers = sign({ ...shape, body, host: location.host }, this.key, this.region, new Date(Date.now() + ahead));
      return fetch(shape.path + (shape.query ? '?' + shape.query : ''), { method: shape.method, headers, body, signal: within, cache: 'no-store' });
    };
    let outcome = { status: 0 };
    try {
      let answer = await send();
      if (answer.status === 403 && corrected(answer)) answer = await send();
      outcome = { status: answer.status, requestId: answer.headers.get('x-amzn-requestid') };
      const said = await answer.text();
      if (answer.ok) return said ? JSON.parse(said) : {};
      throw Object.assign(problem(answer, said), { requestId: outcome.requestId });
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      outcome.error = error instanceof ApiError ? error : new ApiError('', text.api.unreachable, 0);
      throw outcome.error;
    } finally {
      if (!quiet && !signal?.aborted) this.record({ operation, input: operation in secret ? secret[operation] : input, begun, took: new Date() - begun, ...outcome });
    }
  }

  /** pages calls an operation that lists until done says so; it gives each page's answer. */
  async *pages(operation, input, options) {
    let nextToken;
    do {
      const page = await this.call(operation, { ...input, nextToken }, options);
      yield page;
      nextToken = page.nextToken;
    } while (nextToken);
  }

  record(call) {
    this.calls.unshift(call);
    this.calls.length = Math.min(this.calls.length, 200);
    this.dispatchEvent(new Event('call'));
  }

  /** messagingURL is where connections are opened. */
  get messagingURL() {
    return location.origin.replace(/^http/, 'ws') + '/';
  }
}

// A request that is signed by a wrong clock is refused. As the AWS SDKs do, the server's
// is taken then; it reports whether that makes a difference.
function corrected(answer) {
  const difference = Date.parse(answer.headers.get('date')) - Date.now();
  if (!(Math.abs(difference - ahead) > tolerance)) return false;
  ahead = difference;
  return true;
}

function problem(answer, said) {
  let message = said;
  try {
    message = JSON.parse(said).message ?? said;
  } catch { /* a proxy's own page, say */ }
  const name = answer.headers.get('x-amzn-errortype')?.split(':')[0] ?? `HTTP ${answer.status}`;
  return new ApiError(name, message, answer.status);
}
