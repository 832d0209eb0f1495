import assert from 'node:assert/strict';
import { test } from 'node:test';

import { Failures, lateness } from '../../assets/js/backlog.js';
import { History, Nodes, between, percentile, rate, seriesOf, ticks } from '../../assets/js/measures.js';

const begun = Date.parse('2026-01-01T00:00:00Z');

/** answer is what a node of an id says so many seconds after it was started. */
function answer(seconds, { id = 'a', start = 0, messages = 0, latency = [0, 0, 0, 0], cpu = seconds / 2, connections = 3, more = [] } = {}) {
  const counter = (name, samples) => ({ name, type: 'counter', samples });
  return {
    id, startTime: new Date(begun + start * 1000).toISOString(), time: new Date(begun + seconds * 1000).toISOString(),
    metrics: [
      { name: 'parlor_connections', type: 'gauge', samples: [{ labels: {}, value: connections }] },
      counter('parlor_deliveries_total', [{ labels: { action: 'SEND_MESSAGE' }, value: messages }, { labels: { action: 'SEND_EVENT' }, value: 0 }]),
      messages > 0 && counter('parlor_requests_total', [{ labels: { action: 'SEND_MESSAGE' }, value: messages }]),
      counter('parlor_api_requests_total', [{ labels: { operation: 'DescribeNode' }, value: seconds * 50 }, { labels: { operation: 'GetRoom' }, value: seconds }]),
      { name: 'parlor_delivery_seconds', type: 'histogram', samples: [{ labels: {}, count: latency[3], sum: 0, buckets: [[0.001, latency[0]], [0.002, latency[1]], [0.004, latency[2]]] }] },
      counter('process_cpu_seconds_total', [{ labels: {}, value: cpu }]),
      ...more,
    ].filter(Boolean),
  };
}

test('a rate is the growth of a counter in a second', () => {
  assert.equal(rate(10, 30, 2), 10);
  assert.equal(rate(undefined, 4, 2), 2); // not counted before
  assert.equal(rate(30, 10, 2), undefined); // began anew
  assert.equal(rate(1, undefined, 2), undefined);
});

test('percentiles', () => {
  const fresh = (...counts) => [[0.001, counts[0]], [0.002, counts[1]], [0.004, counts[2]], [Infinity, counts[3]]];
  assert.equal(percentile(fresh(0, 0, 0, 0), 0.5), undefined);
  assert.deepEqual(percentile(fresh(50, 40, 10, 0), 0.5), { value: 0.001, sign: '≤' }); // anywhere in the lowest
  assert.deepEqual(percentile(fresh(0, 7, 0, 0), 0.99), { value: 0.002, sign: '≤' }); // anywhere in the only one
  assert.deepEqual(percentile(fresh(0, 50, 50, 0), 0.75), { value: 0.003, sign: '' }); // half way through the second
  assert.deepEqual(percentile(fresh(0, 50, 50, 0), 0.5), { value: 0.002, sign: '' });
  assert.deepEqual(percentile(fresh(1, 0, 0, 9), 0.99), { value: 0.004, sign: '>' });
});

test('buckets are differences, and none where a count fell', () => {
  const map = (...counts) => new Map([[1, counts[0]], [2, counts[1]], [Infinity, counts[2]]]);
  assert.deepEqual(between(map(1, 2, 3), map(2, 5, 9)), [[1, 1], [2, 2], [Infinity, 3]]);
  assert.deepEqual(between(new Map(), map(2, 5, 9)), [[1, 2], [2, 3], [Infinity, 4]]);
  assert.equal(between(map(5, 5, 5), map(0, 0, 1)), undefined);
});

test('a history has rates and percentiles of each interval', () => {
  const history = new History('a');
  history.add(answer(0, { messages: 0 }));
  history.add(answer(2, { messages: 20, latency: [0, 5, 10, 10] }));
  const { values } = history.latest;
  assert.deepEqual(values.connections, { connections: 3 });
  assert.deepEqual(values.deliveries, { deliveries: 10 });
  assert.deepEqual(values.requests, { SEND_MESSAGE: 10 });
  assert.deepEqual(values.latency.p50, { value: 0.002, sign: '' });
  assert.ok(Math.abs(values.latency.p99.value - 0.00396) < 1e-9);
  assert.deepEqual(values.api, { requests: 1 }); // this page's own are left out
  assert.deepEqual(values.cpu, { cpu: 50 });
  assert.deepEqual(values.review, {});
});

test('what a page did not hear is a gap, and no rate', () => {
  const history = new History('a');
  history.add(answer(0));
  history.add(answer(1, { messages: 5 }));
  history.add(answer(8, { messages: 5000 }), false); // it was hidden
  history.add(answer(9, { messages: 5005 }));
  history.add(answer(39, { messages: 9000 })); // slept
  history.add(answer(39, { messages: 9000 })); // the same answer again
  assert.deepEqual(history.points.map((point) => (point.gap ? 'gap' : point.values.deliveries.deliveries)), [5, 'gap', 5, 'gap']);
});

test('a server that began anew has no negative rate, nor a false one', () => {
  const history = new History('a');
  history.add(answer(0, { messages: 100 }));
  history.add(answer(1, { messages: 110 }));
  history.add(answer(2, { messages: 200, start: 1.5 })); // more than before, and yet counted from zero
  history.add(answer(3, { messages: 210, start: 1.5 }));
  assert.deepEqual(history.points.map((point) => (point.gap ? 'gap' : point.values.deliveries.deliveries)), [10, 'gap', 10]);
  history.add(answer(4, { messages: 3, start: 1.5 })); // fell, whatever the reason
  assert.deepEqual(history.latest.values.deliveries, {});
});

test('a history is five minutes long', () => {
  const history = new History('a');
  for (let second = 0; second <= 400; second++) history.add(answer(second));
  assert.equal(history.points.length, 301);
});

test('nodes that answer in turn are kept apart', () => {
  const nodes = new Nodes();
  for (let second = 0; second < 12; second++) nodes.add(answer(second, { id: second % 2 ? 'b' : 'a', messages: second % 2 ? 1000 + second : second }));
  assert.equal(nodes.alternating, true);
  assert.deepEqual([...nodes.histories.keys()], ['a', 'b']);
  for (const { points } of nodes.histories.values()) assert.deepEqual(points.map((point) => point.values.deliveries.deliveries), [1, 1, 1, 1, 1]);
  for (let second = 12; second < 400; second++) nodes.add(answer(second, { id: 'a' })); // b is gone
  assert.deepEqual([[...nodes.histories.keys()], nodes.alternating], [['a'], false]);
});

test('a server that is started again takes up its history', () => {
  const nodes = new Nodes();
  nodes.add(answer(0));
  nodes.add(answer(1));
  nodes.fail();
  nodes.add(answer(4, { id: 'b', start: 3 }));
  nodes.add(answer(5, { id: 'b', start: 3 }));
  assert.deepEqual([...nodes.histories.keys()], ['b']);
  assert.deepEqual(nodes.current.points.map((point) => Boolean(point.gap)), [false, true, false]);
  assert.equal(nodes.alternating, false);
});

test('ticks are round, few, and go over the largest value', () => {
  assert.deepEqual(ticks(1, 1), [0, 1]);
  assert.deepEqual(ticks(3, 1), [0, 1, 2, 3]);
  assert.deepEqual(ticks(21), [0, 10, 20, 30]);
  assert.deepEqual(ticks(100), [0, 50, 100]);
  for (let most = 1e-6; most < 1e12; most *= 1.37) {
    const all = ticks(most);
    assert.ok(all.at(-1) >= most * 0.999 && all.length >= 3 && all.length <= 6 && all.at(-1) <= 2 * most, `${most}: ${all}`);
  }
});

test('many series are the largest few', () => {
  const points = [{ time: 1, values: { errors: { 400: 1, 401: 5, 403: 2 } } }, { time: 2, gap: true }];
  assert.deepEqual(seriesOf(points, 'errors'), ['400', '401', '403']);
  assert.deepEqual(seriesOf(points, 'errors', 2), ['401', '403']);
  assert.deepEqual(seriesOf(points, 'nothing'), []);
});

test('a backlog is late by what it waits for', () => {
  assert.equal(lateness('firehose', 30_000), false);
  assert.equal(lateness('cloudWatchLogs', 90_000), true);
  assert.equal(lateness('s3', 300_000), false);
  assert.equal(lateness('s3', 1_000_000), true);
});

test('why records are not shipped, until they are', () => {
  const failures = new Failures();
  const say = (shipped, missing) => failures.add(answer(1, { more: [
    { name: 'parlor_log_records_total', samples: [{ labels: { logging_configuration: 'arn' }, value: shipped }] },
    { name: 'parlor_log_destination_not_found_total', samples: [{ labels: { logging_configuration: 'arn' }, value: missing }] },
  ] }));
  say(5, 2); // long over, for all one knows
  assert.equal(failures.of('arn'), '');
  say(5, 3);
  assert.equal(failures.of('arn'), 'missing');
  say(6, 3);
  assert.equal(failures.of('arn'), '');
  const never = new Failures();
  never.add(answer(1, { more: [{ name: 'parlor_log_destination_access_denied_total', samples: [{ labels: { logging_configuration: 'arn' }, value: 1 }] }] }));
  assert.equal(never.of('arn'), 'denied');
});
