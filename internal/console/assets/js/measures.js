// What DescribeNode measures, as series over time: rates from differences of counters,
// percentiles from differences of histograms' buckets. Nothing here knows of the page.

/** span is how far back a history goes, in milliseconds. */
export const span = 300_000;
/** longestInterval is between two answers of a node, in milliseconds; over a longer one nothing is known. */
export const longestInterval = 15_000;

/** Sample is one answer of DescribeNode, to be looked up by the names of metrics. */
export class Sample {
  constructor(answer) {
    this.time = Date.parse(answer.time);
    this.start = answer.startTime;
    this.metrics = new Map(answer.metrics.map((metric) => [metric.name, metric.samples]));
  }

  of(name, keep = () => true) {
    return (this.metrics.get(name) ?? []).filter((sample) => keep(sample.labels));
  }

  /** sum adds up a metric's values; undefined where there are none. */
  sum(name, keep) {
    const samples = this.of(name, keep);
    return samples.length ? samples.reduce((sum, sample) => sum + sample.value, 0) : undefined;
  }

  /** by adds up a metric's values for each value of a label. */
  by(name, label, keep) {
    const sums = new Map();
    for (const { labels, value } of this.of(name, keep)) sums.set(labels[label], (sums.get(labels[label]) ?? 0) + value);
    return sums;
  }

  /** histogram adds up a histogram's buckets: how many are not above each bound, Infinity's last. */
  histogram(name, keep) {
    const counts = new Map();
    const add = (bound, count) => counts.set(bound, (counts.get(bound) ?? 0) + count);
    const samples = this.of(name, keep);
    for (const { buckets = [] } of samples) for (const [bound, count] of buckets) add(bound, count);
    for (const { count } of samples) add(Infinity, count);
    return counts;
  }
}

/** rate is how much a counter grew in a second; undefined if it is not there, or fell: then it began anew. */
export function rate(before, after, seconds) {
  if (after === undefined || after < (before ?? 0)) return undefined;
  return (after - (before ?? 0)) / seconds;
}

/** between is what came into each bucket, as [bound, count] by bound; undefined if a count fell. */
export function between(before, after) {
  const bounds = [...after.keys()].sort((a, b) => a - b);
  let below = 0;
  const buckets = bounds.map((bound) => {
    const until = after.get(bound) - (before.get(bound) ?? 0);
    const count = until - below;
    below = until;
    return [bound, count];
  });
  return buckets.every(([, count]) => count >= 0) ? buckets : undefined;
}

/**
 * percentile is the value that a share q of what is in the buckets does not exceed, as
 * {value, sign}. It is interpolated, sign '', where something is known but the bucket's
 * upper bound; where not, sign is '≤'. It is '>' where it is above all bounds. It is undefined where the buckets are empty.
 */
export function percentile(buckets, q) {
  const total = buckets.reduce((sum, [, count]) => sum + count, 0);
  const rank = q * total;
  let below = 0;
  let lower = 0;
  for (const [bound, count] of buckets) {
    if (count > 0 && below + count >= rank) {
      if (bound === Infinity) return { value: lower, sign: '>' };
      // In the lowest bucket, or in one that holds all, where in it is anybody's guess.
      if (lower === 0 || count === total) return { value: bound, sign: '≤' };
      return { value: lower + (bound - lower) * (rank - below) / count, sign: '' };
    }
    below += count;
    lower = bound;
  }
  return undefined;
}

// What each chart reads from two samples that are some seconds apart: {series: value}.
const gauge = (series, name, factor = 1) => (before, after) => ({ [series]: after.sum(name) === undefined ? undefined : after.sum(name) * factor });
const total = (series, name, keep) => (before, after, seconds) => ({ [series]: rate(before.sum(name, keep), after.sum(name, keep), seconds) });
const each = (name, label) => (before, after, seconds) => {
  const old = before.by(name, label);
  return Object.fromEntries(Array.from(after.by(name, label), ([value, sum]) => [value, rate(old.get(value), sum, seconds)]));
};
const percentiles = (name, keep) => (before, after) => {
  const buckets = between(before.histogram(name, keep), after.histogram(name, keep)) ?? [];
  return { p50: percentile(buckets, 0.5), p99: percentile(buckets, 0.99) };
};
const several = (...reads) => (...samples) => Object.assign({}, ...reads.map((read) => read(...samples)));
const answered = (before, after, seconds) => {
  const name = 'parlor_review_seconds';
  return { answered: rate(before.histogram(name).get(Infinity), after.histogram(name).get(Infinity), seconds) };
};

// This page asks once a second, which nobody wants to see.
const notOurs = (labels) => labels.operation !== 'DescribeNode';

/**
 * charts are what is shown, in order. unit is how values are written; one that is optional
 * is shown once there is something but zeros, one that isState when it is there at all.
 */
export const charts = [
  { name: 'connections', unit: 'count', read: gauge('connections', 'parlor_connections') },
  { name: 'deliveries', unit: 'rate', read: total('deliveries', 'parlor_deliveries_total') },
  { name: 'latency', unit: 'seconds', read: percentiles('parlor_delivery_seconds') },
  { name: 'requests', unit: 'rate', read: each('parlor_requests_total', 'action') },
  { name: 'errors', unit: 'rate', read: each('parlor_errors_total', 'code') },
  { name: 'ended', unit: 'rate', read: each('parlor_sessions_ended_total', 'cause') },
  { name: 'api', unit: 'rate', read: total('requests', 'parlor_api_requests_total', notOurs) },
  { name: 'apiLatency', unit: 'seconds', read: percentiles('parlor_api_request_seconds', notOurs) },
  { name: 'review', unit: 'rate', optional: true, read: several(answered, total('failed', 'parlor_review_invocation_errors_total'), total('invalid', 'parlor_review_response_validation_errors_total')) },
  { name: 'reviewLatency', unit: 'seconds', optional: true, read: percentiles('parlor_review_seconds') },
  { name: 'records', unit: 'rate', optional: true, read: several(total('shipped', 'parlor_log_records_total'), total('refused', 'parlor_log_records_refused_total'), total('unwanted', 'parlor_log_records_unwanted_total')) },
  { name: 'broker', unit: 'state', isState: true, optional: true, read: gauge('up', 'parlor_broker_up') },
  { name: 'cpu', unit: 'percent', read: (before, after, seconds) => ({ cpu: percent(rate(before.sum('process_cpu_seconds_total'), after.sum('process_cpu_seconds_total'), seconds)) }) },
  { name: 'memory', unit: 'bytes', read: gauge('memory', 'process_resident_memory_bytes') },
  { name: 'goroutines', unit: 'count', read: gauge('goroutines', 'go_goroutines') },
];
const percent = (share) => (share === undefined ? undefined : share * 100);

/** number is a series' value without its sign. */
export const number = (value) => (typeof value === 'object' ? value?.value : value);

/** History is what one node said in the last five minutes. */
export class History {
  points = []; // {time, values: {chart: {series: value}}}, or {time, gap: true}

  constructor(id) {
    this.id = id;
  }

  /** add takes an answer; heard is whether the page has been listening since the last one. */
  add(answer, heard = true) {
    const before = this.last;
    const after = new Sample(answer);
    this.last = after;
    this.answer = answer;
    if (!before || after.time <= before.time) return;
    const interval = after.time - before.time;
    // A server that began anew counts from zero: the difference would say nothing.
    if (!heard || interval > longestInterval || after.start !== before.start) {
      this.points.push({ time: before.time, gap: true });
      return;
    }
    const values = {};
    for (const { name, read } of charts) {
      values[name] = Object.fromEntries(Object.entries(read(before, after, interval / 1000)).filter(([, value]) => value !== undefined));
    }
    this.points.push({ time: after.time, values });
    const oldest = after.time - span;
    while (this.points.length && this.points[0].time < oldest) this.points.shift();
  }

  /** latest is the last point, if it is one. */
  get latest() {
    const point = this.points.at(-1);
    return point?.gap ? undefined : point;
  }
}

/** Nodes are the histories of the nodes that answer under one address, by their ids. */
export class Nodes {
  histories = new Map();
  alternating = false; // answers have come from one, another, and the one again
  failed = false;

  /** add takes an answer and returns the history that it belongs to. */
  add(answer, heard) {
    const known = this.histories.get(answer.id);
    if (known && this.current && known !== this.current) this.alternating = true;
    // A server that is started again has another id; it takes up the old one's place.
    if (!known && this.failed && this.histories.size === 1) {
      this.histories.delete(this.current.id);
      this.current.id = answer.id;
      this.histories.set(answer.id, this.current);
    } else if (!known) {
      this.histories.set(answer.id, new History(answer.id));
    }
    this.failed = false;
    this.current = this.histories.get(answer.id);
    this.current.add(answer, heard);
    this.forget(Date.parse(answer.time));
    return this.current;
  }

  /** fail says that the server did not answer. */
  fail() {
    this.failed = true;
  }

  // A node that has been silent for as long as histories go back is gone.
  forget(now) {
    for (const [id, history] of this.histories) if (history.last.time < now - span) this.histories.delete(id);
    if (this.histories.size === 1) this.alternating = false;
  }
}

/** ticks are about four values from zero to most or a little more, round ones, at least a step apart. */
export function ticks(most, step = 0) {
  const rough = Math.max(most, Number.MIN_VALUE * 1e10) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = Math.max([1, 2, 5, 10].find((m) => m * power >= rough * 0.999) * power, step);
  return Array.from({ length: Math.max(Math.ceil(most / size - 1e-9), 1) + 1 }, (_, i) => i * size);
}

/** seriesOf are the names of a chart's series, those first that are listed, then the largest; most is how many. */
export function seriesOf(points, chart, most = 6) {
  const sums = new Map();
  for (const { values } of points) {
    for (const [name, value] of Object.entries(values?.[chart] ?? {})) sums.set(name, (sums.get(name) ?? 0) + number(value));
  }
  const names = [...sums.keys()];
  if (names.length <= most) return names.sort();
  return names.sort((a, b) => sums.get(b) - sums.get(a)).slice(0, most);
}
