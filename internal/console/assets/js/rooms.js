// The list of rooms: search, filters, pages, live counts; making, changing, deleting.

import { ask, button, every, explain, failed, field, h, nothing, pairs, replace, select, toast, when } from './ui.js';
import { text } from './text.js';

const pageSize = 50; // the most that ListRooms gives
const scanLimit = 2000; // rooms a search looks at before it asks whether to go on
const words = text.rooms;

export async function rooms({ api, signal }) {
  const configurations = await loggingConfigurations(api);
  const search = h('input', { type: 'search', placeholder: words.search, 'aria-label': words.search, autocomplete: 'off' });
  const handler = h('input', { type: 'search', placeholder: words.filterHandler, 'aria-label': words.filterHandler, autocomplete: 'off' });
  const logging = select([['', `${words.filterLogging}: ${words.all}`], ...configurations.map((c) => [c.arn, c.name || c.id])], '', { 'aria-label': words.filterLogging });
  const list = h('div', { class: 'card' });
  const status = h('p', { class: 'offscreen', role: 'status' }); // the counts change all the time: they are not read out
  const view = new List({ api, signal, list, status });

  const look = () => view.look({ wanted: search.value.trim().toLowerCase(), messageReviewHandlerUri: handler.value.trim() || undefined, loggingConfigurationIdentifier: logging.value || undefined });
  let typing;
  search.addEventListener('input', () => { clearTimeout(typing); typing = setTimeout(look, 200); });
  handler.addEventListener('change', look);
  logging.addEventListener('change', look);
  const make = async () => {
    const made = await editRoom(api, configurations);
    if (!made) return;
    toast(words.made);
    if (!signal.aborted) location.hash = roomAddress(made.arn);
  };
  await view.look({ wanted: '' });
  every(2000, signal, () => view.refreshLive(), () => view.unknown());
  return h('div', {},
    h('div', { class: 'head' }, h('h1', {}, words.title), button(words.create, make, { kind: 'primary' })),
    h('div', { class: 'bar' }, search, configurations.length > 0 && logging, h('details', {}, h('summary', {}, words.moreFilters), handler)),
    status, list);
}

export const roomAddress = (arn) => '#/rooms/' + encodeURIComponent(arn);

/** loggingConfigurations returns all of them; there are few. A key that may not see them sees none. */
export async function loggingConfigurations(api) {
  const all = [];
  try {
    for await (const page of api.pages('ListLoggingConfigurations', { maxResults: 50 }, { quiet: true })) all.push(...page.loggingConfigurations);
  } catch (error) {
    if (error.name !== 'AccessDeniedException') throw error;
  }
  return all;
}

/** List shows a page of the rooms that match. */
class List {
  constructor(parts) {
    Object.assign(this, parts);
    this.turn = 0; // of the search that is under way
    this.seen = new Map(); // by ARN: what DescribeNode said last, for rates
  }

  /** look begins a new search, at the first page. */
  async look({ wanted, ...filter }) {
    this.wanted = wanted;
    this.filter = filter;
    this.found = [];
    this.looked = 0;
    this.nextToken = undefined;
    this.first = 0;
    this.more = true;
    await this.fill(++this.turn, scanLimit);
  }

  /** fill reads on until a page can be shown, at most so many rooms; it reports whether it could. */
  async fill(turn, limit) {
    this.filling = turn;
    try {
      while (this.more && this.found.length <= this.first + pageSize && limit > 0) {
        const page = await this.api.call('ListRooms', { maxResults: pageSize, nextToken: this.nextToken, ...this.filter }, { quiet: true, signal: this.signal });
        if (turn !== this.turn) return false;
        this.looked += page.rooms.length;
        limit -= pageSize;
        this.found.push(...page.rooms.filter((room) => matches(room, this.wanted)));
        this.nextToken = page.nextToken;
        this.more = Boolean(page.nextToken);
      }
      this.draw();
      this.filling = 0;
      await this.refreshLive().catch(() => { if (!this.signal.aborted) this.unknown(); }); // it is asked again in a moment
      return true;
    } catch (error) {
      if (this.signal.aborted || turn !== this.turn) return false;
      if (this.found.length > 0) failed(error);
      else this.refused(error);
      return false;
    } finally {
      if (this.filling === turn) this.filling = 0;
    }
  }

  /** go turns the page; while one is on its way, no further. */
  async go(by) {
    if (this.filling) return;
    this.first += by;
    const { turn } = this;
    if (!await this.fill(turn, scanLimit) && turn === this.turn) this.first -= by;
  }

  /** refused says in the list's place why there is none. */
  refused(error) {
    this.rows = new Map();
    this.status.textContent = '';
    const again = () => this.look({ wanted: this.wanted, ...this.filter });
    replace(this.list, h('p', { class: 'problem', role: 'alert' }, explain(error)), button(text.ui.retry, again));
  }

  get page() {
    return this.found.slice(this.first, this.first + pageSize);
  }

  draw() {
    this.rows = new Map();
    this.status.textContent = this.found.length === 0 ? words.noMatch : words.page(this.first + 1, this.first + this.page.length);
    if (this.found.length === 0) {
      const filtered = this.wanted || Object.values(this.filter).some(Boolean);
      replace(this.list, this.more
        ? nothing(words.searched(this.looked), button(words.searchOn, () => this.fill(this.turn, scanLimit), { kind: 'quiet' }))
        : filtered ? nothing(words.noMatch) : nothing(words.none, words.noneFirst));
      return;
    }
    const last = this.first + this.page.length;
    const turn = (by) => () => this.go(by);
    const focused = this.list.contains(document.activeElement) && document.activeElement.textContent;
    replace(this.list,
      h('div', { class: 'scroll' }, h('table', { class: 'stack' },
        h('caption', { class: 'offscreen' }, words.list),
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, words.name), h('th', { scope: 'col' }, words.tags),
          h('th', { scope: 'col', class: 'number' }, words.connections), h('th', { scope: 'col', class: 'number' }, words.rate), h('th', { scope: 'col' }, words.updated))),
        h('tbody', {}, this.page.map((room) => this.row(room))))),
      h('div', { class: 'actions' },
        h('span', { class: 'faint' }, text.rooms.page(this.first + 1, last)), h('span', { class: 'gap' }),
        button(words.previous, turn(-pageSize), { disabled: this.first === 0 }),
        button(words.next, turn(pageSize), { disabled: !this.more && last >= this.found.length })));
    // Who turned the page by the keyboard goes on from there.
    if (focused) {
      const buttons = [...this.list.querySelectorAll('button:enabled')];
      (buttons.find((one) => one.textContent === focused) ?? buttons[0])?.focus({ preventScroll: true });
    }
  }

  row(room) {
    const connections = h('td', { class: 'number', 'data-label': words.connections });
    const rate = h('td', { class: 'number', 'data-label': words.rate });
    this.rows.set(room.arn, { connections, rate });
    return h('tr', {},
      h('td', {}, h('a', { href: roomAddress(room.arn) }, room.name || h('span', { class: 'faint' }, words.unnamed)), ' ', h('code', { class: 'faint' }, room.id)),
      h('td', {}, Object.entries(room.tags ?? {}).map(([key, value]) => tagOf(key, value))),
      connections, rate, h('td', { class: 'faint' }, when(room.updateTime)));
  }

  /** unknown says that it is not known what goes on. */
  unknown() {
    for (const { connections, rate } of this.rows?.values() ?? []) connections.textContent = rate.textContent = words.unknown;
  }

  /** refreshLive asks what goes on in the rooms that are shown. */
  async refreshLive() {
    const arns = this.page.map((room) => room.arn);
    if (arns.length === 0) return;
    const { rooms: live, time } = await this.api.call('DescribeNode', { rooms: arns }, { quiet: true, signal: this.signal });
    for (const room of live) {
      const row = this.rows.get(room.arn);
      if (!row) continue;
      row.connections.textContent = text.ui.count(room.connections);
      row.rate.textContent = text.ui.rate(messageRate(this.seen, room, new Date(time)));
    }
  }
}

/** tagOf shows a tag; what is in it turns nothing else around. */
export const tagOf = (key, value) => h('span', { class: 'tag' }, h('bdi', {}, key), value && [': ', h('bdi', {}, value)]);

/** messageRate is a room's messages a second since it was last seen, kept in a map by ARN. */
export function messageRate(seen, room, time) {
  const before = seen.get(room.arn);
  seen.set(room.arn, { messages: room.messages, time });
  if (!before || time <= before.time) return 0;
  return Math.max(room.messages - before.messages, 0) / ((time - before.time) / 1000);
}

function matches(room, wanted) {
  if (!wanted) return true;
  return [room.name ?? '', room.arn, ...Object.entries(room.tags ?? {}).flat()].some((part) => part.toLowerCase().includes(wanted));
}

/** editRoom makes a room or, given one, changes it; it returns what the API answered, if anything. */
export function editRoom(api, configurations, room) {
  const name = h('input', { value: room?.name ?? '', maxLength: 128, pattern: '[a-zA-Z0-9_\\-]*', title: text.ui.nameAllowed, autocomplete: 'off', spellcheck: false });
  const length = h('input', { type: 'number', min: 1, max: 500, value: room?.maximumMessageLength ?? 500 });
  const rate = h('input', { type: 'number', min: 1, max: 100, value: room?.maximumMessageRatePerSecond ?? 10 });
  const handler = h('input', { value: room?.messageReviewHandler?.uri ?? '', autocomplete: 'off', spellcheck: false, placeholder: 'arn:aws:lambda:…' });
  const fallback = select(Object.entries(words.fallbacks), room?.messageReviewHandler?.fallbackResult ?? 'ALLOW');
  const chosen = new Set(room?.loggingConfigurationIdentifiers ?? []);
  const boxes = configurations.map((c) => h('label', { class: 'check' }, h('input', { type: 'checkbox', value: c.arn, checked: chosen.has(c.arn) }), c.name || c.id));
  const tags = pairs();

  const input = () => {
    const from = {
      identifier: room?.arn,
      name: name.value,
      maximumMessageLength: length.valueAsNumber,
      maximumMessageRatePerSecond: rate.valueAsNumber,
      loggingConfigurationIdentifiers: boxes.map((box) => box.firstChild).filter((box) => box.checked).map((box) => box.value),
    };
    if (handler.value || room?.messageReviewHandler) from.messageReviewHandler = { uri: handler.value, fallbackResult: fallback.value };
    if (room) return from;
    if (!name.value) delete from.name;
    if (from.loggingConfigurationIdentifiers.length === 0) delete from.loggingConfigurationIdentifiers;
    if (Object.keys(tags.value).length) from.tags = tags.value;
    return from;
  };
  return ask(api, {
    title: room ? words.editTitle : words.create,
    submit: room ? words.save : words.create,
    operation: room ? 'UpdateRoom' : 'CreateRoom',
    input,
    fields: [
      field(words.name, name, { optional: true }),
      field(words.maxLength, length), field(words.maxRate, rate),
      field(words.handlerARN, handler, { optional: true }), field(words.fallback, fallback),
      boxes.length > 0 && h('fieldset', {}, h('legend', {}, words.logging), boxes),
      !room && h('fieldset', {}, h('legend', {}, words.tags), tags),
    ],
  });
}

/** tagResource changes tags by two calls at most; it reports whether it did. */
export async function tagResource(api, arn, before) {
  const tags = pairs(before);
  const changed = () => Object.fromEntries(Object.entries(tags.value).filter(([key, value]) => !Object.hasOwn(before, key) || before[key] !== value));
  const gone = () => Object.keys(before).filter((key) => !Object.hasOwn(tags.value, key));
  const answer = await ask(api, {
    title: words.tagTitle, submit: words.save,
    calls: () => [
      gone().length > 0 && ['UntagResource', { resourceArn: arn, tagKeys: gone() }],
      (gone().length === 0 || Object.keys(changed()).length > 0) && ['TagResource', { resourceArn: arn, tags: changed() }],
    ].filter(Boolean),
    fields: [h('fieldset', {}, h('legend', { class: 'offscreen' }, words.tags), tags)],
  });
  return answer !== undefined;
}

/** deleteRoom asks, and deletes. */
export async function deleteRoom(api, room) {
  const answer = await ask(api, {
    title: words.deleteTitle, lead: words.deleteLead(room.name || room.id), submit: words.delete, danger: true,
    operation: 'DeleteRoom', input: () => ({ identifier: room.arn }),
  });
  if (answer) toast(words.deleted);
  return answer !== undefined;
}
