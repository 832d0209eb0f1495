// The People tab: who is connected to the room, by what this node says every 2 seconds.

import { button, h, nothing, replace } from './ui.js';
import { user } from './messages.js';
import { text } from './text.js';

const words = text.room;
const most = 1000; // users that DescribeNode names

/** People is the table. act is {kick(userId), restrict(kind, userId), as(userId)}. */
export class People {
  #rows = new Map(); // by user ID
  #wanted = '';

  constructor(act) {
    this.act = act;
    this.note = h('p', { class: 'faint' }, words.peopleLead);
    this.bounded = h('p', { class: 'warn', hidden: true }, words.peopleBounded(most));
    this.search = h('input', { type: 'search', placeholder: words.filterPeople, 'aria-label': words.filterPeople, autocomplete: 'off' });
    this.search.addEventListener('input', () => { this.#wanted = this.search.value.trim().toLowerCase(); this.#choose(); });
    this.body = h('tbody');
    this.table = h('table', { class: 'stack people', hidden: true }, h('caption', { class: 'offscreen' }, words.tabs.people),
      h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, words.userId), h('th', { scope: 'col', class: 'number' }, words.userConnections), h('th', { scope: 'col' }, h('span', { class: 'offscreen' }, words.actions)))),
      this.body);
    this.empty = h('div', {}, h('p', { class: 'empty' }, text.ui.loading));
    this.element = h('div', {}, h('div', { class: 'bar' }, this.search), this.note, this.bounded, h('div', { class: 'card' }, this.table, this.empty));
  }

  /** show takes what DescribeNode said of the room, and how many other nodes there are. */
  show(users, others) {
    this.note.textContent = others ? words.peopleNodes(others) : words.peopleLead;
    this.bounded.hidden = users.length < most;
    const now = new Set(users.map((one) => one.userId));
    for (const [id, row] of this.#rows) {
      if (now.has(id)) continue;
      if (row.element.contains(document.activeElement)) this.search.focus();
      row.element.remove();
      this.#rows.delete(id);
    }
    // They come sorted; those that are there stay where they are, and keep the focus.
    let next = this.body.firstChild;
    for (const { userId, connections } of users) {
      const row = this.#rows.get(userId) ?? this.#row(userId);
      row.count.textContent = text.ui.count(connections);
      if (row.element === next) next = next.nextSibling;
      else this.body.insertBefore(row.element, next);
    }
    this.#choose();
  }

  /** refused shows why there is nothing to show. */
  refused(error) {
    if (this.#rows.size === 0) replace(this.empty, h('p', { class: 'problem' }, error.message));
  }

  #choose() {
    let shown = 0;
    for (const [id, row] of this.#rows) {
      row.element.hidden = !id.toLowerCase().includes(this.#wanted);
      if (!row.element.hidden) shown++;
    }
    this.table.hidden = shown === 0;
    this.empty.hidden = shown > 0;
    if (shown === 0) replace(this.empty, this.#rows.size ? nothing(words.nobodyLike) : nothing(words.nobody, words.nobodyHint));
  }

  #row(userId) {
    const count = h('td', { class: 'number', 'data-label': words.userConnections });
    const element = h('tr', {}, h('td', {}, user(userId)), count,
      h('td', {}, h('div', { class: 'actions' },
        button(words.sendAsShort, () => this.act.as(userId), { kind: 'quiet', 'aria-label': words.sendAs(userId) }),
        button(words.kickShort, () => this.act.kick(userId), { kind: 'quiet bad', 'aria-label': words.kick(userId) }),
        ['MUTE', 'BAN'].map((kind) => button(words.restrict[kind].short, () => this.act.restrict(kind, userId), { kind: 'quiet bad', 'aria-label': words.restrict[kind].label(userId) })))));
    const row = { element, count };
    this.#rows.set(userId, row);
    return row;
  }
}
