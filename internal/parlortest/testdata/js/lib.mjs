// What the scenarios share: the two official clients pointed at the server, and ways to
// wait for what happens.
import assert from 'node:assert/strict';
import { IvschatClient, CreateChatTokenCommand, CreateRoomCommand } from '@aws-sdk/client-ivschat';
import { ChatRoom } from 'amazon-ivs-chat-messaging';
import { WebSocket } from 'ws';

/** bound rejects when a promise takes longer than some seconds. */
export function bound(promise, seconds, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

export const everything = ['SEND_MESSAGE', 'DELETE_MESSAGE', 'DISCONNECT_USER'];

/** Server is one of the servers that the test started: its name is a prefix of variables. */
export class Server {
  constructor(name = 'PARLOR') {
    this.url = process.env[`${name}_URL`];
    this.webSocketURL = process.env[`${name}_WS`];
    this.aws = new IvschatClient({
      endpoint: this.url,
      region: 'us-west-2',
      credentials: { accessKeyId: '123456789012', secretAccessKey: 'secret' },
    });
  }

  /** room creates a room and returns its ARN. */
  async room(spec = {}) {
    return (await this.aws.send(new CreateRoomCommand({ maximumMessageRatePerSecond: 100, ...spec }))).arn;
  }

  /** token asks for a token, as an application's backend does. */
  token(roomIdentifier, userId, spec = {}) {
    return this.aws.send(new CreateChatTokenCommand({ roomIdentifier, userId, capabilities: everything, ...spec }));
  }

  /** inject asks parlor dev for a fault. */
  async inject(fault) {
    const response = await fetch(`${this.url}/parlor/dev/faults`, {
      method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(fault),
    });
    assert.equal(response.status, 200, await response.clone().text());
    return response.json();
  }

  /** reset makes parlor dev as it was at its start. */
  async reset() {
    const response = await fetch(`${this.url}/parlor/dev/reset`, { method: 'POST', headers: { 'Content-Type': 'application/json' } });
    assert.equal(response.status, 200, await response.clone().text());
    return response.json();
  }

  /** enter connects a user through the chat SDK and resolves when the room is connected. */
  async enter(room, userId, spec) {
    const visitor = new Visitor(this.webSocketURL, async () => ({ token: (await this.token(room, userId, spec)).token }));
    visitor.connect();
    await visitor.next('connect');
    return visitor;
  }
}

/** Visitor is an unmodified ChatRoom that keeps what it is told until somebody asks. */
export class Visitor {
  tokens = 0; // how often the SDK asked for one

  #seen = []; // [name, payload]
  #waiting = [];

  constructor(url, tokenProvider, options = {}) {
    this.room = new ChatRoom({
      regionOrUrl: url,
      tokenProvider: () => {
        this.tokens++;
        return tokenProvider();
      },
      ...options,
    });
    this.room.logger = { debug() {}, info() {}, error() {} };
    for (const name of ['connecting', 'connect', 'disconnect', 'message', 'event', 'messageDelete', 'userDisconnect']) {
      this.room.addListener(name, (payload) => {
        this.#seen.push([name, payload]);
        this.#waiting.splice(0).forEach((wake) => wake());
      });
    }
  }

  connect() { this.room.connect(); }
  send(request) { return bound(this.room.sendMessage(request), 30, 'sendMessage'); }

  /** next resolves with the next of a kind; what came before it is dropped. */
  async next(name, seconds = 30) {
    const deadline = Date.now() + seconds * 1000;
    for (;;) {
      const at = this.#seen.findIndex(([n]) => n === name);
      if (at >= 0) return this.#seen.splice(0, at + 1)[at][1];
      await bound(new Promise((wake) => this.#waiting.push(wake)), (deadline - Date.now()) / 1000, `waiting for "${name}"`);
    }
  }

  /** all is everything of a kind that came and was not dropped. */
  all(name) { return this.#seen.filter(([n]) => n === name).map(([, payload]) => payload); }
}

/** Raw is a WebSocket without any SDK. */
export class Raw {
  frames = [];

  #waiting = [];

  constructor(url, token) {
    this.socket = new WebSocket(url, token);
    const wake = () => this.#waiting.splice(0).forEach((f) => f());
    this.socket.on('message', (data) => { this.frames.push(JSON.parse(data)); wake(); });
    this.opened = new Promise((resolve, reject) => {
      this.socket.on('open', resolve);
      this.socket.on('unexpected-response', (_, response) => reject(Object.assign(new Error('refused'), { status: response.statusCode })));
      this.socket.on('error', reject);
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => resolve({ code, reason: reason.toString() }));
    });
    this.opened.catch(() => {}); // whoever waits for it is told
  }

  async next(seconds = 30) {
    if (!this.frames.length) {
      const ended = this.closed.then(({ code }) => { throw new Error(`closed with ${code}, no frame came`); });
      await bound(Promise.race([new Promise((f) => this.#waiting.push(f)), ended]), seconds, 'waiting for a frame');
    }
    return this.frames.shift();
  }

  send(request) { this.socket.send(JSON.stringify(request)); }
}

/** rejected is the error of a promise that has to reject. */
export async function rejected(promise) {
  let value;
  try {
    value = await promise;
  } catch (e) {
    return e;
  }
  assert.fail(`got ${JSON.stringify(value)}, want an error`);
}

export const id = /^[a-zA-Z0-9]{12}$/;

/** own calls an operation that only Parlor has, unsigned: parlor dev takes anybody's word. */
export async function own(server, operation, input) {
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const answer = await fetch(`${server.url}/parlor/${operation}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-amz-date': date,
      authorization: `AWS4-HMAC-SHA256 Credential=123456789012/${date.slice(0, 8)}/us-west-2/ivschat/aws4_request, SignedHeaders=host;x-amz-date, Signature=00`,
    },
    body: JSON.stringify(input),
  });
  const said = await answer.json();
  assert.equal(answer.status, 200, `${operation}: ${JSON.stringify(said)}`);
  return said;
}
