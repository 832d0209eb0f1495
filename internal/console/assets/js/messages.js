// What is seen in a room: messages, events, and gaps between them, as rows of a list.

import { button, copy, h } from './ui.js';
import { LongList } from './longlist.js';
import { menu } from './menu.js';
import { text } from './text.js';

const words = text.room;

/** kept is how many rows are kept at most; slack is how many go at once when there are more. */
export const kept = 10_000;
const slack = 100;

/**
 * Messages is the rows of a room, as one connection sees them. It tells by a change event
 * that something is to be said of it anew: what is paused, held back or dropped.
 *
 * act is {remove(frame), kick(userId), restrict(kind, userId), purge(userId),
 * as(userId)}: what can be done about a message.
 */
export class Messages extends EventTarget {
  dropped = 0; // rows that are kept no longer
  paused = false;
  held = 0; // rows that came since it was paused
  #rows = []; // all of them, the oldest first
  #byId = new Map(); // those of messages, by message ID
  #deletions = new Set(); // IDs of the events that this page asked for
  #next = 0;
  #wanted = ''; // lower case
  #asViewer = false;

  constructor(act) {
    super();
    this.act = act;
    this.list = new LongList({
      label: words.messages,
      render: (row) => this.#render(row),
      open: (row, element) => this.#menu(row, element),
      words: { latest: words.latest, fresh: words.fresh },
      empty: [h('p', { class: 'empty-title' }, words.quiet), h('p', {}, words.quietHint)],
    });
  }

  /** took adds what a frame says. */
  took(frame) {
    if (frame.Type === 'MESSAGE') {
      const row = this.#add({ kind: 'message', frame, search: `${frame.Sender.UserId}\n${frame.Content}` });
      this.#byId.set(frame.Id, row);
    } else if (frame.Type === 'EVENT') {
      if (frame.EventName === 'aws:DELETE_MESSAGE' && this.#deleted(frame)) return;
      this.#add({ kind: 'event', frame, search: [frame.EventName, ...Object.entries(frame.Attributes ?? {}).flat()].join('\n') });
    }
  }

  /** note adds a row in words, of what happened to the connection. */
  note(said) {
    this.#add({ kind: 'note', said, frame: { SendTime: new Date().toISOString() }, search: said });
  }

  /** ours says that a deletion's event was asked for here. */
  ours(id) {
    this.#deletions.add(id);
    for (const row of this.#rows) {
      if (row.deleted?.Id === id) this.list.update(row);
    }
  }

  /** filter shows only rows with a text in them, and none that viewers do not see. */
  filter(wanted, asViewer) {
    this.#wanted = wanted.trim().toLowerCase();
    this.#asViewer = asViewer;
    this.#again();
  }

  pause(paused) {
    this.paused = paused;
    this.held = 0;
    if (!paused) this.#again();
    this.#changed();
  }

  get size() {
    return this.#rows.length;
  }

  #again() {
    // While paused, what came since stays out.
    const to = this.paused ? this.#rows.length - this.held : this.#rows.length;
    this.list.reset(this.#rows.slice(0, Math.max(0, to)).filter((row) => this.#matches(row)));
  }

  #matches(row) {
    if (this.#asViewer && row.deleted) return false;
    return !this.#wanted || row.search.toLowerCase().includes(this.#wanted);
  }

  #add(row) {
    row.n = this.#next++;
    this.#rows.push(row);
    if (this.#rows.length > kept) this.#drop(slack);
    if (this.paused) this.held++;
    else if (this.#matches(row)) this.list.append(row);
    if (this.paused || this.dropped) this.#changed();
    return row;
  }

  #drop(count) {
    for (const row of this.#rows.splice(0, count)) {
      if (row.kind === 'message') this.#byId.delete(row.frame.Id);
    }
    this.dropped += count;
    this.list.dropBefore(this.#rows[0].n);
  }

  // A deletion is told to clients, which are to take the message from the screen. Here
  // it stays, marked: who looks after a room wants to know what was deleted.
  #deleted(frame) {
    const row = this.#byId.get(frame.Attributes?.MessageID);
    if (!row) return false; // an older one: the event gets a row
    row.deleted = frame;
    if (this.#asViewer) this.#again();
    else this.list.update(row);
    return true;
  }

  #changed() {
    this.dispatchEvent(new Event('change'));
  }

  #render(row) {
    const element = h('article', { class: `row ${row.kind}${row.deleted ? ' deleted' : ''}`, 'aria-label': label(row) });
    element.append(clock(row.frame.SendTime), h('div', { class: 'body' }, this.#body(row)));
    if (row.kind !== 'note') element.append(button('', () => { this.list.focus(row); this.#menu(row, element); }, { kind: 'quiet more', 'aria-label': words.actions, 'aria-haspopup': 'menu', title: words.actionsTitle }));
    return element;
  }

  #body(row) {
    const { frame } = row;
    if (row.kind === 'note') return row.said;
    if (row.kind === 'event') return [eventWords(frame), this.#attributes(row)];
    const who = user(frame.Sender.UserId);
    // Each in an isolation of its own: what a user wrote turns nothing else around.
    const said = h(row.deleted ? 's' : 'span', { class: 'said', dir: 'auto' }, frame.Content);
    return [who, ' ', said, row.deleted && h('div', { class: 'fate' }, deletion(row.deleted, this.#deletions.has(row.deleted.Id))), this.#attributes(row)];
  }

  // The attributes of a message, of its sender, or of an event; shown when asked for.
  #attributes(row) {
    const maps = [[words.attributes, row.frame.Attributes], [words.senderAttributes, row.frame.Sender?.Attributes]]
      .filter(([, map]) => Object.keys(map ?? {}).length > 0);
    if (maps.length === 0) return null;
    const count = maps.reduce((sum, [, map]) => sum + Object.keys(map).length, 0);
    const toggle = button(words.attributeCount(count), () => { row.open = !row.open; this.list.update(row); this.#refocus(row); }, { kind: 'quiet unfold attributes', 'aria-expanded': String(Boolean(row.open)) });
    return [toggle, row.open && maps.map(([label, map]) => h('div', { class: 'map' },
      h('div', { class: 'faint' }, label),
      h('dl', {}, Object.entries(map).map(([key, value]) => h('div', {}, h('dt', { dir: 'auto' }, key), h('dd', { dir: 'auto' }, value))))))];
  }

  #refocus(row) {
    this.list.view.querySelector(`article[aria-posinset="${row.n + 1}"] .attributes`)?.focus({ preventScroll: true });
  }

  // When a dialog closes, the row that had the focus may have been rendered anew.
  async #and(row, done) {
    await done;
    if (document.activeElement === document.body) this.list.focus(row);
  }

  #menu(row, element) {
    const { frame } = row;
    if (row.kind === 'note') return;
    const entries = [
      [words.copyJSON, () => copy(JSON.stringify(frame, null, 2))],
      [words.copyId, () => copy(frame.Id)],
    ];
    if (row.kind === 'message') {
      entries.push([words.sendAs(frame.Sender.UserId), () => this.act.as(frame.Sender.UserId)]);
      if (!row.deleted) entries.push([words.remove, () => this.#and(row, this.act.remove(frame)), 'bad']);
      entries.push([words.kick(frame.Sender.UserId), () => this.#and(row, this.act.kick(frame.Sender.UserId)), 'bad']);
      entries.push([words.purge(frame.Sender.UserId), () => this.#and(row, this.act.purge(frame.Sender.UserId)), 'bad']);
      for (const kind of ['MUTE', 'BAN']) entries.push([words.restrict[kind].label(frame.Sender.UserId), () => this.#and(row, this.act.restrict(kind, frame.Sender.UserId)), 'bad']);
    }
    if (element.querySelector('.attributes')) entries.unshift([row.open ? words.hideAttributes : words.showAttributes, () => { row.open = !row.open; this.list.update(row); }]);
    menu(this.list.element, element.querySelector('.more'), words.actions, entries, () => this.list.focus(row));
  }
}

/** label is what a screen reader says of a row. */
function label({ kind, frame, said, deleted }) {
  if (kind === 'note') return said;
  if (kind === 'event') return words.eventLabel(frame.EventName);
  return words.messageLabel(frame.Sender.UserId, frame.Content, Boolean(deleted));
}

/** user is a user's name, in that user's colour. */
export function user(id) {
  const element = h('bdi', { class: 'user' }, id);
  element.style.setProperty('--hue', hue(id));
  return element;
}

/** hue is a user's own, always the same: one of 24 round the circle. */
export function hue(id) {
  let sum = 2166136261;
  for (const c of id) sum = Math.imul(sum ^ c.codePointAt(0), 16777619);
  return ((sum >>> 8) % 24) * 15;
}

/** clock is a time of day, to the second; its exact value is in the title. */
export function clock(time) {
  const date = new Date(time);
  return h('time', { dateTime: date.toISOString(), title: date.toISOString() }, date.toLocaleTimeString('en-GB'));
}

function eventWords({ EventName: name, Attributes: attributes }) {
  const tag = h('span', { class: 'tag' }, words.event);
  const why = attributes?.Reason;
  if (name === 'aws:DISCONNECT_USER') return [tag, words.kicked(user(attributes?.UserId ?? '')), reason(why)];
  if (name === 'aws:DELETE_MESSAGE') return [tag, words.deletedElsewhere(h('code', {}, attributes?.MessageID)), reason(why)];
  return [tag, h('bdi', { class: 'event-name' }, name)];
}

const reason = (why) => why && [' ', words.reason, ' ', h('bdi', {}, why)];

const deletion = (frame, ours) => [ours ? words.deletedHere : words.deleted, ' ', clock(frame.SendTime), '. ', words.notSeen, reason(frame.Attributes?.Reason)];
