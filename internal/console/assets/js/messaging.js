// A connection to the messaging API that is kept, as the official SDKs keep theirs: a
// broken one is opened again with a new token, one that was closed in good order is not.

import { text } from './text.js';

const firstWait = 500; // milliseconds, doubled each time
const longestWait = 15_000;

/**
 * Connection is one user's connection to a room. Its events:
 *
 *   state   detail: 'connecting', 'open', 'waiting' (to connect again) or 'closed'
 *   frame   detail: {out: boolean, raw: string, time: Date}, each frame both ways
 *   socket  detail: {open: true}, or {open: false, code, reason}: each time that one opens, or closes
 *   closed  detail: {code, reason, denied: Error?}, when it will not connect again
 */
export class Connection extends EventTarget {
  state = 'closed';

  /** token is an async function that returns a new chat token each time. */
  constructor(url, token) {
    super();
    Object.assign(this, { url, token });
    this.waiting = new Map(); // requests without an answer, by RequestId
    this.failures = 0;
  }

  open() {
    this.ended = false;
    return this.#connect();
  }

  async #connect() {
    this.#become('connecting');
    let token;
    try {
      token = await this.token();
    } catch (error) {
      // What the API refuses it will refuse again; a server that is away comes back.
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return this.#close({ code: 0, reason: error.message, denied: error });
      return this.#again();
    }
    if (this.ended) return undefined;
    this.socket = new WebSocket(this.url, token);
    this.socket.onopen = () => {
      if (this.ended) return this.socket.close(1000);
      this.failures = 0;
      this.#emit('socket', { open: true });
      return this.#become('open');
    };
    this.socket.onmessage = ({ data }) => this.#took(data);
    this.socket.onclose = ({ code, reason, wasClean }) => {
      this.#emit('socket', { open: false, code, reason });
      this.#fail();
      if (this.ended) return this.#close({ code, reason });
      // A session that is over says so with ERROR 401 first: then a new token helps.
      if (wasClean && !this.expired) return this.#close({ code, reason });
      this.expired = false;
      return this.#again();
    };
    return undefined;
  }

  #again() {
    if (this.ended) return;
    this.#become('waiting');
    const wait = Math.min(firstWait * 2 ** this.failures++, longestWait) * (0.5 + Math.random() / 2);
    this.timer = setTimeout(() => this.#connect(), wait);
  }

  #took(raw) {
    this.#emit('frame', { out: false, raw, time: new Date() });
    const frame = JSON.parse(raw);
    if (frame.Type === 'ERROR' && frame.ErrorCode === 401) this.expired = true;
    const asked = this.waiting.get(frame.RequestId);
    if (!asked) return;
    this.waiting.delete(frame.RequestId);
    if (frame.Type === 'ERROR') asked.reject(Object.assign(new Error(frame.ErrorMessage), { status: frame.ErrorCode }));
    else asked.resolve(frame);
  }

  /** send sends an action; it returns the frame that answers it, or fails with the ERROR's text. */
  send(action) {
    return new Promise((resolve, reject) => {
      if (this.state !== 'open') return reject(new Error(text.messaging.notConnected));
      const request = { RequestId: crypto.getRandomValues(new Uint32Array(2)).join('-'), ...action };
      const raw = JSON.stringify(request);
      this.waiting.set(request.RequestId, { resolve, reject });
      this.socket.send(raw);
      return this.#emit('frame', { out: true, raw, time: new Date() });
    });
  }

  /** close ends the connection for good. */
  close() {
    this.ended = true;
    clearTimeout(this.timer);
    // One that is still on its way is closed when it has come: browsers warn of it else.
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.close(1000);
    this.#become('closed');
  }

  #fail() {
    for (const { reject } of this.waiting.values()) reject(new Error(text.messaging.lost));
    this.waiting.clear();
  }

  #close(why) {
    this.#become('closed');
    this.#emit('closed', why);
  }

  #become(state) {
    if (this.state === state) return;
    this.state = state;
    this.#emit('state', state);
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
