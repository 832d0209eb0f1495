// The node that answers: who it is, what it does now, and its last five minutes.

import { every, explain, h, replace, select } from './ui.js';
import { messageRate, roomAddress } from './rooms.js';
import { Board, Chart, written } from './chart.js';
import { Nodes, charts, number, span } from './measures.js';
import { text } from './text.js';

const words = text.node;
const patience = 5_000; // milliseconds that an answer may take
const pause = 5_000; // without an answer for so long, nothing is known of the time between
const mostRooms = 10;

/** node shows the node once it has answered. */
export async function node({ api, signal }) {
  const page = new Page(api, signal);
  page.take(await page.ask());
  // What is drawn is measured: it must be on the page first.
  setTimeout(() => every(1000, signal, () => page.turn()), 1000);
  return page.element;
}

class Page {
  nodes = new Nodes();
  picked = undefined; // the id that a person picked
  names = new Map(); // of rooms, by ARN
  seen = new Map(); // see messageRate

  constructor(api, signal) {
    Object.assign(this, { api, signal });
    this.state = h('span', { role: 'status' });
    this.heading = h('p', { class: 'node-state' }, this.state);
    this.facts = h('dl', { class: 'facts' });
    this.picker = h('div', { class: 'card picker', hidden: true });
    this.cards = h('dl', { class: 'cards stats' });
    this.values = Object.fromEntries(Object.entries(words.cards).map(([name, label]) => [name, this.card(name, label)]));
    this.board = new Board();
    const elements = charts.map((definition) => {
      const chart = this.board.add(new Chart(definition));
      chart.observe(signal);
      return chart.element;
    });
    this.rooms = h('div', { class: 'card' });
    this.element = h('div', { class: 'node' },
      h('div', { class: 'head' }, h('div', {}, h('h1', {}, words.title), this.heading)),
      this.picker, h('section', { class: 'card', 'aria-label': words.about }, this.facts),
      h('section', { 'aria-labelledby': 'node-now' }, h('h2', { id: 'node-now' }, words.nowTitle), this.cards),
      h('section', { 'aria-labelledby': 'node-charts' }, h('h2', { id: 'node-charts' }, words.chartsTitle), h('p', { class: 'faint' }, words.chartsHint), h('div', { class: 'charts' }, elements)),
      h('section', { 'aria-labelledby': 'node-rooms' }, h('h2', { id: 'node-rooms' }, words.roomsTitle), this.rooms));
  }

  card(name, label) {
    const value = h('dd', { 'data-value': name });
    this.cards.append(h('div', { class: 'card stat' }, h('dt', {}, label), value));
    return value;
  }

  ask() {
    return this.api.call('DescribeNode', {}, { quiet: true, signal: AbortSignal.any([this.signal, AbortSignal.timeout(patience)]) });
  }

  async turn() {
    try {
      this.take(await this.ask());
    } catch (error) {
      if (this.signal.aborted) return;
      this.nodes.fail();
      this.lost ??= new Date();
      this.say('bad', error.status ? explain(error) : words.gone(words.clock(this.lost)));
      this.draw();
    }
  }

  take(answer) {
    const now = performance.now();
    const heard = this.heardAt !== undefined && now - this.heardAt < pause && !this.lost;
    this.heardAt = now;
    this.lost = undefined;
    const history = this.nodes.add(answer, heard);
    history.heardAt = now;
    this.say('good', words.live);
    this.nameRooms(answer).catch(() => {}); // their IDs do
    this.draw();
  }

  /** shown is the history that is looked at: the one picked, or that of who answers. */
  get shown() {
    const picked = this.nodes.histories.get(this.picked);
    if (picked) return picked;
    // Answers in turn would have the page jump from one to the other.
    if (!this.nodes.alternating || !this.nodes.histories.has(this.stays)) this.stays = this.nodes.current.id;
    return this.nodes.histories.get(this.stays);
  }

  // It is a live region: it changes when there is something to say.
  say(kind, said) {
    this.heading.className = `node-state ${kind}`;
    const now = typeof said === 'string' ? said : said.map((part) => part.textContent ?? part).join('');
    if (this.state.textContent !== now) this.state.textContent = now;
  }

  draw() {
    const history = this.shown;
    const { answer } = history;
    // The node's clock goes on while it says nothing.
    const until = history.last.time + (performance.now() - history.heardAt);
    this.drawPicker();
    this.drawFacts(answer, until);
    this.board.draw(history.points, until);
    // While nobody answers, what was is not what is.
    this.drawCards(this.lost ? {} : history, this.lost ? undefined : answer);
    this.drawRooms(answer);
  }

  drawPicker() {
    const ids = [...this.nodes.histories.keys()];
    this.picker.hidden = ids.length < 2;
    if (this.picker.hidden || this.pickerIds === ids.join() + this.nodes.alternating) return;
    this.pickerIds = ids.join() + this.nodes.alternating;
    const choice = select(ids.map((id) => [id, id]), this.shown.id, { 'aria-label': words.pick });
    choice.addEventListener('change', () => {
      this.picked = choice.value;
      this.draw();
    });
    replace(this.picker, h('p', {}, this.nodes.alternating ? words.inTurn(ids.length) : words.another), choice);
  }

  drawFacts(answer, until) {
    const others = answer.nodes.map(({ id, well, lastSeenTime }) => {
      const silent = until - Date.parse(lastSeenTime);
      return h('span', { class: 'peer' }, h('code', {}, id), ' ', h('span', { class: well ? 'good' : 'bad' }, well ? words.well : words.unwell), ' ', h('span', { class: 'faint' }, words.lastSeen(text.ui.ago(Math.max(silent, 0)))));
    });
    const facts = [
      [words.id, h('code', {}, answer.id)], [words.version, answer.version], [words.mode, words.modes[answer.mode] ?? answer.mode],
      [words.uptime, h('time', { dateTime: answer.startTime, title: answer.startTime }, words.duration(until - Date.parse(answer.startTime)))],
      [words.others, others.length ? others : words.alone],
    ];
    // What is being read or selected is left alone.
    const key = facts.map(([, value]) => [value].flat().map((part) => part.textContent ?? part).join()).join('|');
    if (this.factsKey === key) return;
    this.factsKey = key;
    replace(this.facts, facts.map(([label, value]) => h('div', {}, h('dt', {}, label), h('dd', {}, value))));
  }

  drawCards({ latest }, answer) {
    const of = (chart, series) => latest?.values[chart]?.[series];
    const all = (chart) => latest && Object.values(latest.values[chart]).reduce((sum, value) => sum + number(value), 0);
    const show = (name, value, unit) => { this.values[name].textContent = written(value, unit); };
    const connections = answer?.metrics.find((metric) => metric.name === 'parlor_connections');
    show('connections', connections?.samples[0]?.value, 'count');
    show('deliveries', all('deliveries'), 'rate');
    show('p50', of('latency', 'p50'), 'seconds');
    show('p99', of('latency', 'p99'), 'seconds');
    show('requests', all('requests'), 'rate');
    show('errors', all('errors'), 'rate');
    show('cpu', of('cpu', 'cpu'), 'percent');
    show('memory', of('memory', 'memory'), 'bytes');
  }

  drawRooms(answer) {
    const rooms = answer.rooms.slice(0, mostRooms);
    const key = rooms.map(({ arn }) => arn + this.names.get(arn)).join();
    if (this.roomsKey !== key) {
      this.roomsKey = key;
      this.rows = new Map();
      replace(this.rooms, rooms.length === 0 ? h('p', { class: 'faint' }, words.noRooms) : h('div', { class: 'scroll' }, h('table', { class: 'stack' },
        h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, text.rooms.name), h('th', { scope: 'col', class: 'number' }, text.rooms.connections), h('th', { scope: 'col', class: 'number' }, text.rooms.rate))),
        h('tbody', {}, rooms.map(({ arn }) => this.row(arn))))));
    }
    for (const room of rooms) {
      const { connections, rate } = this.rows.get(room.arn);
      connections.textContent = text.ui.count(room.connections);
      if (this.drawnAt !== answer.time) rate.textContent = text.ui.rate(messageRate(this.seen, room, new Date(answer.time)));
    }
    this.drawnAt = answer.time;
  }

  row(arn) {
    const connections = h('td', { class: 'number', 'data-label': text.rooms.connections });
    const rate = h('td', { class: 'number', 'data-label': text.rooms.rate });
    this.rows.set(arn, { connections, rate });
    return h('tr', {}, h('td', {}, h('a', { href: roomAddress(arn) }, h('bdi', {}, this.names.get(arn) || text.rooms.unnamed)), ' ', h('code', { class: 'faint' }, arn.split('/').at(-1))), connections, rate);
  }

  /** nameRooms asks for the names of rooms that were not there before. */
  async nameRooms(answer) {
    for (const { arn } of answer.rooms.slice(0, mostRooms)) {
      if (this.names.has(arn)) continue;
      this.names.set(arn, '');
      const room = await this.api.call('GetRoom', { identifier: arn }, { quiet: true, signal: this.signal });
      this.names.set(arn, room.name ?? '');
    }
  }
}
