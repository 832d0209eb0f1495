// The Settings tab: what a room is.

import { button, copy, copyCommandButton, h } from './ui.js';
import { cliCommand } from './cli.js';
import { tagOf } from './rooms.js';
import { text } from './text.js';

const words = text.room;

/** about is the facts of a room; configurations are all logging configurations there are. */
export function about(api, room, configurations) {
  const handler = room.messageReviewHandler;
  const facts = [
    [text.rooms.name, room.name || h('span', { class: 'faint' }, text.rooms.unnamed)],
    [words.arn, h('code', {}, room.arn)],
    [words.id, h('code', {}, room.id)],
    [text.rooms.maxLength, text.ui.count(room.maximumMessageLength)],
    [text.rooms.maxRate, text.ui.count(room.maximumMessageRatePerSecond)],
    [text.rooms.handler, handler?.uri ? [h('code', {}, handler.uri), h('br'), h('span', { class: 'faint' }, words.fallback(handler.fallbackResult))] : none()],
    [text.rooms.logging, room.loggingConfigurationIdentifiers?.length
      ? h('ul', { class: 'plain' }, room.loggingConfigurationIdentifiers.map((arn) => h('li', {},
        h('a', { href: '#/logging/' + encodeURIComponent(arn) }, configurations.find((c) => c.arn === arn)?.name || arn))))
      : none()],
    [text.rooms.tags, Object.keys(room.tags ?? {}).length
      ? Object.entries(room.tags).map(([key, value]) => tagOf(key, value))
      : none()],
    [text.rooms.created, exact(room.createTime)],
    [text.rooms.updated, exact(room.updateTime)],
  ];
  return h('div', { class: 'card' },
    h('dl', { class: 'facts' }, facts.map(([name, value]) => [h('dt', {}, name), h('dd', {}, value)])),
    h('div', { class: 'actions about-actions' },
      copyCommandButton(() => cliCommand('GetRoom', { identifier: room.arn }, api.region)),
      button(words.copyJSON, () => copy(JSON.stringify(room, null, 2)), { kind: 'quiet' })));
}

const none = () => h('span', { class: 'faint' }, words.noneSet);

const exact = (time) => h('time', { dateTime: time }, new Date(time).toLocaleString('en', { dateStyle: 'medium', timeStyle: 'medium' }), ' ', h('span', { class: 'faint' }, text.ui.ago(Date.now() - new Date(time))));
