// Those who are in a room from this page: the console itself, which only looks on, and
// the users that messages are sent as, each with a connection of their own.

import { Connection } from './messaging.js';
import { text } from './text.js';

const patience = 10_000; // milliseconds that a message waits for its user's connection
const sessionMinutes = 180; // the longest there is

/**
 * Cast is all of them. Its events, with a Member each:
 *
 *   change  the state of one, or whether it is there
 *   frame   {member, out, raw, frame, time}
 *   socket  {member, open, code, reason, clean, time}: its socket opened, or closed
 */
export class Cast extends EventTarget {
  members = new Map(); // by user ID, in the order of their coming

  constructor(api, arn, signal) {
    super();
    Object.assign(this, { api, arn });
    this.viewer = new Member(this, 'console', [], true);
    signal.addEventListener('abort', () => {
      for (const member of [this.viewer, ...this.members.values()]) member.connection.close();
    });
  }

  /**
   * as is the user with these capabilities. Those of a connection never change: one that
   * has others makes room for a new one.
   */
  as(userId, capabilities) {
    const there = this.members.get(userId);
    if (there && String(there.capabilities) === String(capabilities)) return there;
    there?.connection.close();
    const member = new Member(this, userId, capabilities);
    this.members.set(userId, member);
    this.tell('change', member);
    return member;
  }

  /** dismiss closes a user's connection, and forgets it. */
  dismiss(member) {
    member.connection.close();
    this.members.delete(member.userId);
    this.tell('change', member);
  }

  tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

/** Member is one user's connection, and what became of it. */
class Member {
  closed; // {code, reason}, when it will not connect again

  constructor(cast, userId, capabilities, quiet = false) {
    Object.assign(this, { cast, userId, capabilities });
    this.connection = new Connection(cast.api.messagingURL, async () => {
      const input = { roomIdentifier: cast.arn, userId, capabilities, sessionDurationInMinutes: sessionMinutes };
      const { token } = await cast.api.call('CreateChatToken', input, { quiet });
      quiet = true; // what repeats by itself is no call of the person's
      return token;
    });
    this.connection.addEventListener('state', () => {
      if (this.connection.state !== 'closed') this.closed = undefined;
      cast.tell('change', this);
    });
    this.connection.addEventListener('closed', ({ detail }) => {
      this.closed = { code: detail.code, reason: reason(detail.reason) };
      cast.tell('change', this);
    });
    this.connection.addEventListener('frame', ({ detail }) => cast.tell('frame', { member: this, frame: JSON.parse(detail.raw), ...detail }));
    this.connection.addEventListener('socket', ({ detail }) => cast.tell('socket', { member: this, time: new Date(), ...detail, reason: reason(detail.reason) }));
  }

  /** ready returns when the connection is open, and fails if it closes instead, or takes long. */
  ready() {
    if (this.connection.state === 'open') return Promise.resolve();
    return new Promise((resolve, reject) => {
      const over = new AbortController();
      const end = (settle, value) => { over.abort(); clearTimeout(timer); settle(value); };
      const timer = setTimeout(() => end(reject, new Error(text.messaging.notConnected)), patience);
      this.connection.addEventListener('state', () => { if (this.connection.state === 'open') end(resolve); }, over);
      this.connection.addEventListener('closed', ({ detail }) => end(reject, detail.denied ?? new Error(text.messaging.notConnected)), over);
      if (this.connection.state === 'closed') this.connection.open();
    });
  }
}

// A close for a fault tells it as the ERROR frame would.
function reason(said = '') {
  try {
    return JSON.parse(said).ErrorMessage ?? said;
  } catch {
    return said;
  }
}
