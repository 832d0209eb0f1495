// Bans, mutes and purges: a page that lists the first two, and the dialogs that make them.

import { ask, button, failed, field, h, nothing, replace, select, toast } from './ui.js';
import { roomAddress } from './rooms.js';
import { text } from './text.js';

const words = text.bans;
const operations = { BAN: ['BanUser', 'UnbanUser'], MUTE: ['MuteUser', 'UnmuteUser'] };

/**
 * restrict asks, and bans or mutes a user: the one who is named, in the room or in every
 * room, or whomever the person says. It returns the ban, or undefined.
 */
export async function restrict(api, kind, { room, userId } = {}) {
  const said = words.dialog[kind];
  const who = h('input', { required: true, maxLength: 128, autocomplete: 'off', spellcheck: false, value: userId ?? '', readOnly: userId !== undefined });
  const place = room ? select(Object.entries(words.places), 'here') : h('input', { autocomplete: 'off', spellcheck: false, pattern: 'arn:aws:ivschat:[a-z0-9\\-]+:[0-9]+:room/[a-zA-Z0-9\\-]+', title: words.roomAllowed });
  const time = select(Object.entries(words.times), kind === 'MUTE' ? '600' : '86400');
  const reason = h('input', { maxLength: 256, autocomplete: 'off' });
  const at = () => (room ? { here: room }[place.value] : place.value.trim() || undefined);
  const ban = await ask(api, {
    title: said.title, lead: said.lead, submit: said.submit, danger: true,
    fields: [
      field(words.userId, who), field(room ? words.place : words.roomARN, place, room ? {} : { hint: words.roomHint, optional: true }),
      field(words.for, time), field(words.reason, reason, { optional: true }),
    ],
    operation: operations[kind][0],
    input: () => ({ userId: who.value, roomIdentifier: at(), durationInSeconds: time.value ? Number(time.value) : undefined, reason: reason.value || undefined }),
  });
  if (ban) toast(said.done);
  return ban;
}

/** purge asks, and deletes what the room's history has of a user. */
export async function purge(api, { room, userId }) {
  const said = words.purge;
  const purged = await ask(api, {
    title: said.title, lead: said.lead(h('bdi', {}, userId)), submit: said.submit, danger: true,
    operation: 'PurgeUser', input: () => ({ userId, roomIdentifier: room }),
  });
  if (purged) toast(said.done(purged.deleted));
  return purged;
}

/** bans is the page. */
export async function bans({ api, signal }) {
  const body = h('tbody');
  const empty = h('div', {}, nothing(words.none, words.noneHint));
  const table = h('table', { class: 'stack bans' }, h('caption', { class: 'offscreen' }, words.title),
    h('thead', {}, h('tr', {}, [words.user, words.kind, words.where, words.until, words.reason, words.by].map((label) => h('th', { scope: 'col' }, label)),
      h('th', { scope: 'col' }, h('span', { class: 'offscreen' }, text.room.actions)))), body);
  const more = button(words.more, () => page().catch(failed), { hidden: true });
  let nextToken;
  const measure = () => {
    table.hidden = body.childElementCount === 0;
    empty.hidden = !table.hidden;
    more.hidden = !nextToken;
  };
  const takeBack = async (ban, element) => {
    await api.call(operations[ban.kind][1], { userId: ban.userId, roomIdentifier: ban.roomArn });
    element.remove();
    measure();
    first.focus();
    toast(words.takenBack);
  };
  const row = (ban) => {
    const cell = (label, ...what) => h('td', { 'data-label': label }, what);
    const element = h('tr', {},
      h('td', {}, h('bdi', {}, ban.userId)), cell(words.kind, words.kinds[ban.kind] ?? ban.kind),
      cell(words.where, ban.roomArn ? h('a', { href: roomAddress(ban.roomArn) }, ban.roomArn.split('/')[1]) : words.everywhere),
      cell(words.until, ban.expireTime ? h('time', { dateTime: ban.expireTime }, new Date(ban.expireTime).toLocaleString('en')) : words.forever),
      cell(words.reason, h('bdi', {}, ban.reason ?? '–')), cell(words.by, h('bdi', {}, ban.createdBy)),
      h('td', {}, h('div', { class: 'actions' },
        button(words.takeBack, () => takeBack(ban, element).catch(failed), { kind: 'quiet', 'aria-label': words.takeBackFor(ban.kind, ban.userId) }))));
    return element;
  };
  const page = async () => {
    const answer = await api.call('ListBans', { nextToken }, { signal });
    nextToken = answer.nextToken;
    body.append(...answer.bans.map(row));
    measure();
  };
  const again = async () => {
    nextToken = undefined;
    replace(body);
    await page();
  };
  const make = (kind, label, look) => button(label, async () => { if (await restrict(api, kind)) await again().catch(failed); }, { kind: look });
  const first = make('BAN', words.ban, 'primary');
  await page();
  return h('div', {},
    h('div', { class: 'head' }, h('div', {}, h('h1', {}, words.title), h('p', { class: 'faint' }, words.lead)), h('div', { class: 'actions' }, first, make('MUTE', words.mute, ''))),
    h('div', { class: 'card' }, table, empty), more);
}
