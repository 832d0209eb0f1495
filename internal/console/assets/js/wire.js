// The Wire tab: every frame of the connections of this page, both ways, and their
// openings and closes.

import { button, copy, h, select } from './ui.js';
import { LongList } from './longlist.js';
import { clock, user } from './messages.js';
import { text } from './text.js';

const words = text.room;

/** keptFrames is how many rows are kept at most. */
export const keptFrames = 5000;
const slack = 100;

/** Wire is the rows, and what is shown of them. */
export class Wire {
  #rows = [];
  #next = 0;
  #filter = { user: '', direction: '', type: '' };
  #paused = false;
  #held = 0;
  #types = new Set();
  #users = new Set();

  constructor(cast) {
    this.list = new LongList({
      label: words.frames,
      render: (row) => this.#render(row),
      open: (row) => this.#toggle(row),
      words: { latest: words.latest, fresh: words.freshFrames },
      empty: [h('p', { class: 'empty-title' }, words.noFrames), h('p', {}, words.noFramesHint)],
      guess: 38,
    });
    const filter = (name, label) => {
      const input = select([['', label]], '', { 'aria-label': label });
      input.addEventListener('change', () => { this.#filter[name] = input.value; this.#again(); });
      return input;
    };
    this.users = filter('user', words.anyUser);
    this.directions = filter('direction', words.anyDirection);
    this.directions.append(...Object.entries(words.directions).map(([value, label]) => h('option', { value }, label)));
    this.types = filter('type', words.anyType);
    this.pauseButton = button(words.pause, () => this.#pause(), { 'aria-pressed': 'false' });
    this.note = h('span', { hidden: true }, words.framesDropped(keptFrames));
    this.element = h('div', {},
      h('div', { class: 'bar' }, this.users, this.directions, this.types, h('span', { class: 'gap' }), this.pauseButton,
        button(words.clear, () => this.#clear()), button(words.copyAll, () => copy(JSON.stringify(this.list.items.map(asJSON), null, 2)))),
      this.list.element, h('div', { class: 'faint foot' }, h('span', { class: 'keys' }, words.wireKeys), this.note));
    cast.addEventListener('frame', ({ detail }) => this.#add({
      user: detail.member.userId, direction: detail.out ? 'out' : 'in', type: detail.frame.Type ?? detail.frame.Action ?? '', raw: detail.raw, frame: detail.frame, time: detail.time,
    }));
    cast.addEventListener('socket', ({ detail }) => this.#add({
      user: detail.member.userId, direction: detail.open ? 'open' : 'close', type: '', raw: detail.open ? '' : words.closeCode(detail.code, detail.reason), code: detail.code, reason: detail.reason, time: detail.time,
    }));
  }

  #add(row) {
    row.n = this.#next++;
    this.#rows.push(row);
    if (this.#rows.length > keptFrames) {
      this.#rows.splice(0, slack);
      this.note.hidden = false;
      this.list.dropBefore(this.#rows[0].n);
    }
    offer(this.users, this.#users, row.user);
    offer(this.types, this.#types, row.type);
    if (this.#paused) {
      this.#held++;
      this.#tell();
    } else if (this.#matches(row)) this.list.append(row);
  }

  #matches(row) {
    return Object.entries(this.#filter).every(([name, wanted]) => !wanted || row[name] === wanted);
  }

  #again() {
    const to = this.#paused ? this.#rows.length - this.#held : this.#rows.length;
    this.list.reset(this.#rows.slice(0, Math.max(0, to)).filter((row) => this.#matches(row)));
  }

  #pause() {
    this.#paused = !this.#paused;
    this.#held = 0;
    this.pauseButton.setAttribute('aria-pressed', this.#paused);
    if (!this.#paused) this.#again();
    this.#tell();
  }

  #tell() {
    this.pauseButton.textContent = this.#paused ? words.resume(this.#held) : words.pause;
  }

  #clear() {
    this.#rows = [];
    this.#held = 0;
    this.note.hidden = true;
    this.#tell();
    this.list.reset([]);
  }

  #toggle(row) {
    row.open = !row.open;
    this.list.update(row);
  }

  #render(row) {
    const way = words.directions[row.direction];
    const element = h('article', { class: `row frame ${row.direction}`, 'aria-label': words.frameLabel(way, row.type, row.user) });
    const summary = row.frame
      ? [h('span', { class: 'type' }, row.type), h('code', { class: 'raw' }, row.raw)]
      : h('span', { class: 'raw' }, row.raw);
    element.append(
      clock(row.time), h('span', { class: 'way' }, way), user(row.user),
      h('div', { class: 'body' }, summary, row.open && row.frame && h('pre', { dir: 'ltr' }, JSON.stringify(row.frame, null, 2))));
    if (row.frame) {
      element.append(
        button(words.json, () => { this.#toggle(row); this.list.focus(row); }, { kind: 'quiet unfold', 'aria-expanded': String(Boolean(row.open)) }),
        button(text.ui.copy, () => copy(JSON.stringify(row.frame, null, 2)), { kind: 'quiet', 'aria-label': words.copyFrame }));
    }
    return element;
  }
}

// What all rows copied at once are.
function asJSON(row) {
  const { direction, user: userId, time } = row;
  return { time: time.toISOString(), userId, direction, ...(row.frame ? { frame: row.frame } : { code: row.code, reason: row.reason }) };
}

/** offer makes a value one that can be chosen, once. */
function offer(input, known, value) {
  if (!value || known.has(value) || known.size >= 100) return;
  known.add(value);
  input.append(h('option', { value }, value));
}
