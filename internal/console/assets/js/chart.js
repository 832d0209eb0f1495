// A line chart of the last minutes. What it shows can be seen, pointed at, walked through
// with the arrow keys, heard (its label) and read (a table below it).

import { h, newId, replace } from './ui.js';
import { text } from './text.js';
import { longestInterval, number, seriesOf, span, ticks } from './measures.js';

const height = 122; // of what is between the axes; pages.css has the places around it
const margin = 70; // to the left and the right of it, together
const calm = 10_000; // milliseconds between two changes of what is heard
const words = text.node;

// The smallest step of an axis, and what it shows where everything is zero.
const axes = {
  count: { step: 1, least: 4 }, rate: { step: 0, least: 1 }, seconds: { step: 0, least: 0.001 },
  percent: { step: 0, least: 10 }, bytes: { step: 0, least: 1e6 }, state: { step: 1, least: 1 },
};

/** written is a value as it is read. */
export const written = (value, unit) => {
  if (value === undefined) return '–';
  return (value.sign ?? '') + (value.sign ? ' ' : '') + words.units[unit](number(value));
};

/** Board is a set of charts that are read at one time. */
export class Board {
  charts = [];
  at = undefined; // the time that is read, in milliseconds; now if undefined

  add(chart) {
    this.charts.push(chart);
    chart.board = this;
    return chart;
  }

  /** draw shows points of time up to another; both in the clock of the node. */
  draw(points, until) {
    Object.assign(this, { points, until });
    for (const chart of this.charts) chart.draw(points, until);
  }

  read(at) {
    this.at = at;
    for (const chart of this.charts) chart.mark();
  }
}

export class Chart {
  /** definition is one of measures.js. */
  constructor({ name, unit, optional = false, isState = false }) {
    Object.assign(this, { name, unit, optional, isState });
    this.title = words.charts[name];
    const heading = h('h3', { id: newId('chart') }, this.title);
    this.readAt = h('span', { class: 'faint chart-at' });
    this.legend = h('ul', { class: 'legend' });
    this.items = new Map(); // by series: what the legend shows
    this.svg = h('svg:svg', { class: 'chart-plot', role: 'img', 'aria-label': this.title, height });
    // What is written is no part of the picture, so that its contrast can be computed.
    this.labels = h('div', { class: 'chart-labels', 'aria-hidden': 'true' });
    this.reader = h('div', {
      class: 'chart-reader', tabIndex: 0, role: 'slider', 'aria-label': words.reader(this.title), 'aria-valuemin': -span / 1000, 'aria-valuemax': 0, 'aria-valuenow': 0, 'aria-valuetext': words.now,
      onKeydown: (event) => this.key(event),
      onPointermove: (event) => this.point(event),
      onPointerdown: (event) => this.point(event),
      onPointerleave: () => this.leave(),
      onBlur: () => this.leave(),
      onFocus: () => this.speak(),
    });
    this.table = h('tbody');
    this.details = h('details', { onToggle: () => this.tell(true) }, h('summary', {}, words.asTable, h('span', { class: 'offscreen' }, ` ${this.title}`)),
      h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, words.series), [words.now, words.least, words.most].map((label) => h('th', { scope: 'col', class: 'number' }, label)))), this.table));
    this.element = h('figure', { class: 'card chart', 'aria-labelledby': heading.id, 'data-chart': name, hidden: optional },
      h('div', { class: 'chart-head' }, heading, this.readAt), h('div', { class: 'chart-area' }, this.labels, this.reader, this.svg), this.legend, this.details);
    this.width = 260;
    this.points = [];
    this.told = 0;
  }

  /** observe keeps the chart as wide as its place until the signal aborts. */
  observe(signal) {
    const observer = new ResizeObserver(([entry]) => {
      const width = Math.round(entry.contentRect.width) - margin;
      if (width === this.width || width <= 0) return;
      this.width = width;
      this.draw(this.points, this.until);
    });
    observer.observe(this.svg.parentNode);
    signal.addEventListener('abort', () => observer.disconnect());
  }

  draw(points, until) {
    Object.assign(this, { points, until });
    if (until === undefined) return;
    this.series = seriesOf(points, this.name);
    this.left = seriesOf(points, this.name, Infinity).length - this.series.length;
    const all = points.flatMap(({ values }) => this.series.map((series) => number(values?.[this.name]?.[series]) ?? 0));
    const most = all.reduce((a, b) => Math.max(a, b), 0);
    if (this.optional) this.element.hidden = this.isState ? this.series.length === 0 : most === 0;
    if (this.element.hidden) return;
    this.scale = ticks(Math.max(most, most > 0 && this.unit !== 'count' ? 0 : axes[this.unit].least), axes[this.unit].step);
    this.svg.setAttribute('viewBox', `0 0 ${this.width} ${height}`);
    this.svg.setAttribute('width', this.width);
    this.cursor = h('svg:g', { class: 'cursor' });
    replace(this.svg, this.grid(), this.series.map((series, i) => this.line(series, i)), this.cursor);
    this.explain();
    if (this.lastX !== undefined) this.board.at = this.timeAt(this.lastX);
    this.mark();
    this.tell();
  }

  x(time) {
    return (time - (this.until - span)) / span * this.width;
  }

  timeAt(x) {
    return this.until - span + x / this.width * span;
  }

  y(value) {
    return height - value / this.scale.at(-1) * height;
  }

  grid() {
    const minutes = this.width < 320 ? [4, 2, 0] : [5, 4, 3, 2, 1, 0];
    const zero = (value) => value === 0 && this.unit !== 'state';
    replace(this.labels,
      this.scale.map((value) => h('span', { class: 'tick-y', style: `top: ${this.y(value).toFixed(1)}px` }, zero(value) ? '0' : words.units[this.unit](value).replace('.0 ', ' '))),
      minutes.map((minute) => h('span', { class: 'tick-x', style: `left: ${this.x(this.until - minute * 60_000).toFixed(1)}px` }, words.minutesAgo(minute))));
    return h('svg:g', { class: 'grid' }, this.scale.map((value) => h('svg:line', { x1: 0, x2: this.width, y1: this.y(value), y2: this.y(value) })));
  }

  // A line is broken where nothing is known; what stands alone is a dot.
  line(series, index) {
    const runs = [];
    let run;
    for (const point of this.points) {
      const value = this.valueOf(point, series);
      if (value === undefined || point.time < this.until - span) {
        run = undefined;
        continue;
      }
      if (!run) runs.push(run = []);
      run.push(`${this.x(point.time).toFixed(1)} ${this.y(number(value)).toFixed(1)}`);
    }
    const bottom = this.y(0).toFixed(1);
    const area = this.series.length === 1 && runs.filter((r) => r.length > 1).map((r) => `M${r[0].split(' ')[0]} ${bottom}L${r.join('L')}L${r.at(-1).split(' ')[0]} ${bottom}Z`).join('');
    const path = runs.filter((r) => r.length > 1).map((r) => 'M' + r.join('L')).join('');
    const dots = runs.filter((r) => r.length === 1).map(([at]) => h('svg:circle', { cx: at.split(' ')[0], cy: at.split(' ')[1], r: 2 }));
    return h('svg:g', { class: `line-${index + 1}`, 'data-series': series }, path && h('svg:path', { class: 'line', d: path }), area && h('svg:path', { class: 'area', d: area }), dots);
  }

  // A counter that had not counted yet was at zero; a percentile of nothing is nothing.
  valueOf(point, series) {
    const values = point?.values?.[this.name];
    if (!values) return undefined;
    return values[series] ?? (this.unit === 'rate' ? 0 : undefined);
  }

  explain() {
    const key = [...this.series, this.left].join();
    if (this.explained !== key) {
      this.explained = key;
      this.items = new Map(this.series.map((series, i) => {
        const value = h('span', { class: 'legend-value' });
        const item = h('li', {},
          h('svg:svg', { class: `swatch line-${i + 1}`, width: 26, height: 8, 'aria-hidden': 'true' }, h('svg:line', { x1: 1, x2: 25, y1: 4, y2: 4 })),
          h('span', {}, words.seriesNames[series] ?? series), value);
        return [series, { item, value }];
      }));
      replace(this.legend, Array.from(this.items.values(), ({ item }) => item), this.left > 0 && h('li', { class: 'faint' }, words.left(this.left)));
    }
    if (this.series.length === 0) replace(this.legend, h('li', { class: 'faint' }, words.nothingYet));
  }

  /** pointAt is the point that is read: the nearest to the board's time, or the latest. */
  pointAt() {
    if (this.board.at === undefined) return this.latest;
    let best;
    for (const point of this.points) if (!best || Math.abs(point.time - this.board.at) < Math.abs(best.time - this.board.at)) best = point;
    return best && Math.abs(best.time - this.board.at) < 3_000 ? best : { time: this.board.at };
  }

  // What was said long ago is not so now.
  get latest() {
    const last = this.points.at(-1);
    return last && this.until - last.time < longestInterval ? last : undefined;
  }

  /** mark shows the values of the time that is read. */
  mark() {
    if (!this.scale || this.element.hidden) return;
    const point = this.pointAt();
    for (const [series, { value }] of this.items) value.textContent = written(this.valueOf(point, series), this.unit);
    const reading = this.board.at !== undefined && point;
    this.readAt.textContent = reading ? words.clock(new Date(point.time)) : words.now;
    replace(this.cursor, reading && [
      h('svg:line', { x1: this.x(point.time), x2: this.x(point.time), y1: 0, y2: height }),
      this.series.map((series, i) => {
        const value = number(this.valueOf(point, series));
        return value !== undefined && h('svg:circle', { class: `line-${i + 1}`, cx: this.x(point.time), cy: this.y(value), r: 3.5 });
      }),
    ]);
  }

  said(point) {
    return this.series?.length ? this.series.map((series) => `${words.seriesNames[series] ?? series} ${written(this.valueOf(point, series), this.unit)}`).join(', ') : words.nothingYet;
  }

  /** tell changes what is heard and read of the chart, now and then. */
  tell(now = false) {
    if (!this.scale || (!now && Date.now() - this.told < calm)) return;
    const { latest } = this;
    if (latest) this.told = Date.now(); // the first that there is to say is said at once
    this.svg.setAttribute('aria-label', `${this.title}: ${this.said(latest)}`);
    if (!this.details.open) return;
    replace(this.table, this.series.map((series) => {
      const known = this.points.map((point) => this.valueOf(point, series)).filter((value) => value !== undefined).sort((a, b) => number(a) - number(b));
      return h('tr', {}, h('th', { scope: 'row' }, words.seriesNames[series] ?? series),
        [this.valueOf(latest, series), known[0], known.at(-1)].map((value) => h('td', { class: 'number' }, written(value, this.unit))));
    }));
  }

  point(event) {
    this.lastX = Math.min(Math.max(event.offsetX, 0), this.width);
    this.board.read(this.timeAt(this.lastX));
  }

  leave() {
    this.lastX = undefined;
    this.board.read(undefined);
  }

  key(event) {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -30, PageUp: 30, Home: -Infinity, End: Infinity };
    if (event.key === 'Escape') this.leave();
    const step = steps[event.key];
    if (step === undefined || this.points.length === 0) return;
    event.preventDefault();
    this.lastX = undefined;
    const now = this.board.at === undefined ? this.points.length - 1 : this.points.findLastIndex((point) => point.time <= this.board.at);
    this.board.read(this.points[Math.min(Math.max(now + step, 0), this.points.length - 1)].time);
    this.speak();
  }

  /** speak says what is read; it changes with the reader's keys only, not by itself. */
  speak() {
    const point = this.pointAt();
    this.reader.setAttribute('aria-valuenow', Math.round(Math.min((point?.time ?? this.until) - this.until, 0) / 1000) || 0);
    this.reader.setAttribute('aria-valuetext', `${this.readAt.textContent}: ${this.said(point)}`);
  }
}
