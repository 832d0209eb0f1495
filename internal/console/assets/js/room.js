// One room: its head, with what can be done to it, and its tabs.

import { ask, button, copy, dialog, every, failed, field, h, nothing, pairs, replace, toast } from './ui.js';
import { deleteRoom, editRoom, loggingConfigurations, messageRate, roomAddress, tagResource } from './rooms.js';
import { about } from './about.js';
import { restrict } from './bans.js';
import { Cast } from './cast.js';
import { capabilities } from './composer.js';
import { kick, live } from './live.js';
import { People } from './people.js';
import { tabs } from './tabs.js';
import { text } from './text.js';
import { handToken } from './tokens.js';
import { Wire } from './wire.js';

const words = text.room;

export async function room({ api, path: arn, signal, title }) {
  let facts;
  let configurations;
  try {
    [facts, configurations] = await Promise.all([api.call('GetRoom', { identifier: arn }, { signal }), loggingConfigurations(api)]);
  } catch (error) {
    if (error.name !== 'ResourceNotFoundException') throw error;
    return nothing(words.notThere, h('a', { href: '#/rooms' }, text.app.startAgain));
  }
  if (signal.aborted) return undefined; // another page is shown: nothing connects

  const cast = new Cast(api, arn, signal);
  const wire = new Wire(cast); // before anything opens: it shows all there is
  const watching = live({ api, arn, cast, room: () => facts, signal });
  const as = (userId) => {
    panels.show('live');
    watching.form.as(userId);
  };
  const people = new People({ kick: (userId) => kick(api, arn, userId), restrict: (kind, userId) => restrict(api, kind, { room: arn, userId }), as });
  const settings = h('div');

  const name = h('h1');
  const reload = async () => {
    try {
      facts = await api.call('GetRoom', { identifier: arn }, { quiet: true, signal });
      draw();
    } catch (error) {
      if (signal.aborted) return;
      if (error.name === 'ResourceNotFoundException') gone();
      else failed(error);
    }
  };
  // What was seen stays to be read, but nothing can be done any more.
  const gone = () => {
    replace(actions, h('a', { class: 'button', href: '#/rooms' }, text.app.startAgain));
    load.end(words.notThere);
    watching.end();
  };
  cast.addEventListener('change', ({ detail }) => {
    if (detail === cast.viewer && detail.closed && !signal.aborted) reload(); // it may be gone
  });
  const draw = () => {
    title(facts.name || facts.id);
    replace(name, facts.name || facts.id);
    replace(settings, about(api, facts, configurations));
    watching.form.measure();
  };
  draw();

  const load = liveNumbers(api, arn, signal, people);
  const panels = tabs(words.sections, [
    { key: 'live', label: words.tabs.live, panel: watching.element },
    { key: 'wire', label: words.tabs.wire, panel: wire.element },
    { key: 'people', label: words.tabs.people, panel: people.element, shown: (is) => load.users(is) },
    { key: 'settings', label: words.tabs.settings, panel: settings },
  ], location.hash.split('/')[3], (key) => {
    // The address says it, so that a reload comes back here. It is the same page.
    history.replaceState(null, '', roomAddress(arn) + (key === 'live' ? '' : '/' + key));
  });

  const edit = async () => { if (await editRoom(api, configurations, facts)) { toast(text.rooms.saved); await reload(); } };
  const tag = async () => { if (await tagResource(api, arn, facts.tags ?? {})) { toast(text.rooms.saved); await reload(); } };
  const remove = async () => { if (await deleteRoom(api, facts) && !signal.aborted) location.hash = '#/rooms'; };
  const actions = h('div', { class: 'actions' },
    button(words.sendEvent, () => sendEvent(api, arn)), button(words.mint, () => mint(api, arn)),
    button(text.rooms.edit, edit), button(text.rooms.tag, tag), button(text.rooms.delete, remove, { kind: 'quiet bad' }));
  return h('div', { class: 'room' },
    h('div', { class: 'head' },
      h('div', {}, name,
        h('div', { class: 'arn' }, h('code', { class: 'faint' }, arn), button(text.ui.copy, () => copy(arn), { kind: 'quiet', 'aria-label': words.copyARN })),
        load.element),
      actions),
    panels.element);
}

/** liveNumbers asks the node every 2 seconds what goes on in the room, and, when asked to, who is there. */
function liveNumbers(api, arn, signal, people) {
  const element = h('p', { class: 'faint load' }, text.ui.loading);
  const seen = new Map();
  const over = new AbortController();
  signal.addEventListener('abort', () => over.abort());
  let users = false;
  const look = async () => {
    if (over.signal.aborted) return;
    const { rooms: [now], time, nodes } = await api.call('DescribeNode', { rooms: [arn], users }, { quiet: true, signal: over.signal });
    if (!now) return;
    element.textContent = `${text.rooms.live(now.connections, text.ui.rate(messageRate(seen, now, new Date(time))))} ${text.rooms.onThisNode}`;
    if (now.users) people.show(now.users, nodes.length);
  };
  const failing = (error) => {
    element.textContent = words.noNumbers;
    people.refused(error);
  };
  every(2000, over.signal, look, failing);
  return {
    element,
    end(why) {
      over.abort();
      element.textContent = why;
    },
    users(is) {
      users = is;
      if (is) look().catch((error) => { if (!over.signal.aborted) failing(error); });
    },
  };
}

async function sendEvent(api, arn) {
  const eventName = h('input', { required: true, maxLength: 100, autocomplete: 'off', spellcheck: false });
  const attributes = pairs();
  const answer = await ask(api, {
    title: words.eventTitle, lead: words.eventLead, submit: words.sendEvent, operation: 'SendEvent',
    fields: [field(words.eventName, eventName), h('fieldset', {}, h('legend', {}, words.attributes), attributes)],
    input: () => ({ roomIdentifier: arn, eventName: eventName.value, attributes: some(attributes.value) }),
  });
  if (answer) toast(words.eventSent);
}

/** mint makes a token, and shows it: the one time that it can be seen. */
async function mint(api, arn) {
  const userId = h('input', { required: true, maxLength: 128, autocomplete: 'off', spellcheck: false });
  const minutes = h('input', { type: 'number', min: 1, max: 180, value: 60 });
  const boxes = capabilities.map((name) => h('label', { class: 'check' }, h('input', { type: 'checkbox', value: name, checked: name === 'SEND_MESSAGE' }), words.capabilities[name]));
  const attributes = pairs();
  const answer = await ask(api, {
    title: words.mintTitle, lead: words.mintLead, submit: words.mint, operation: 'CreateChatToken',
    fields: [
      field(words.userId, userId), h('fieldset', {}, h('legend', {}, words.may), boxes), field(words.minutes, minutes),
      h('fieldset', {}, h('legend', {}, words.senderAttributes), attributes),
    ],
    input: () => ({
      roomIdentifier: arn, userId: userId.value, attributes: some(attributes.value), sessionDurationInMinutes: minutes.valueAsNumber,
      capabilities: boxes.map((box) => box.firstChild).filter((box) => box.checked).map((box) => box.value),
    }),
  });
  if (!answer) return;
  const inspect = h('a', { class: 'button', href: '#/tokens', onClick: () => { handToken(answer.token); box.close(); } }, words.inspect);
  const box = dialog(words.minted,
    h('p', {}, words.mintedLead),
    h('textarea', { class: 'mono', rows: 5, readOnly: true, value: answer.token, 'aria-label': words.token }),
    h('dl', { class: 'facts' }, h('dt', {}, words.tokenUntil), h('dd', {}, new Date(answer.tokenExpirationTime).toLocaleString('en')),
      h('dt', {}, words.sessionUntil), h('dd', {}, new Date(answer.sessionExpirationTime).toLocaleString('en'))),
    h('footer', { class: 'actions' }, button(text.ui.copy, () => copy(answer.token), { kind: 'primary' }), inspect, h('span', { class: 'gap' }), button(text.ui.close, () => box.close())));
}

const some = (map) => (Object.keys(map).length ? map : undefined);
