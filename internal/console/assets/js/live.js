// The Live tab: what a viewer of the room sees, as it comes, and a form to send as anybody.

import { ask, button, field, h, toast } from './ui.js';
import { Messages, kept } from './messages.js';
import { composer, showState } from './composer.js';
import { purge, restrict } from './bans.js';
import { text } from './text.js';

const words = text.room;
const announceEvery = 3000; // milliseconds

/** live makes the tab's panel. room() is the room as it is now. */
export function live({ api, arn, cast, room, signal }) {
  const messages = new Messages({
    remove: (frame) => remove(api, arn, frame, messages),
    kick: (userId) => kick(api, arn, userId),
    restrict: (kind, userId) => restrict(api, kind, { room: arn, userId }),
    purge: (userId) => purge(api, { room: arn, userId }),
    as: (userId) => form.as(userId),
  });
  const form = composer(cast, room);
  const { viewer } = cast;

  const state = h('span', { class: 'state', role: 'status' });
  const again = button(words.again, () => viewer.connection.open(), { hidden: true });
  let opened = false;
  let over = false;
  cast.addEventListener('change', ({ detail }) => {
    if (detail !== viewer) return;
    showState(state, viewer);
    again.hidden = !viewer.closed || over;
  });
  cast.addEventListener('socket', ({ detail }) => {
    if (detail.member !== viewer || signal.aborted) return;
    // What was sent in between nobody sends again.
    if (detail.open && opened) messages.note(words.backAgain);
    if (!detail.open) messages.note(words.gone(detail.code, detail.reason));
    opened ||= detail.open;
  });
  const news = announcer(signal);
  cast.addEventListener('frame', ({ detail }) => {
    if (detail.member !== viewer || detail.out) return;
    messages.took(detail.frame);
    if (!messages.paused && !element.hidden) news.add(detail.frame);
  });
  showState(state, viewer);
  viewer.connection.open();

  const search = h('input', { type: 'search', placeholder: words.filter, 'aria-label': words.filter, autocomplete: 'off' });
  const asViewer = h('input', { type: 'checkbox' });
  const filter = () => messages.filter(search.value, asViewer.checked);
  search.addEventListener('input', filter);
  asViewer.addEventListener('change', filter);
  const pause = button(words.pause, () => messages.pause(!messages.paused), { 'aria-pressed': 'false' });
  const dropped = h('span', { hidden: true });
  let telling = 0;
  messages.addEventListener('change', () => {
    telling ||= setTimeout(() => {
      telling = 0;
      pause.textContent = messages.paused ? words.resume(messages.held) : words.pause;
      pause.setAttribute('aria-pressed', messages.paused);
      dropped.hidden = messages.dropped === 0;
      dropped.textContent = words.dropped(messages.dropped, kept);
    }, 100);
  });

  const element = h('div', { class: 'live' },
    h('section', { class: 'stream', 'aria-label': words.messages },
      h('div', { class: 'bar' }, state, again, h('span', { class: 'gap' }), search,
        h('label', { class: 'check', title: words.asViewerHint }, asViewer, words.asViewer), pause),
      messages.list.element, h('div', { class: 'faint foot' }, h('span', { class: 'keys' }, words.listKeys), dropped), news.element),
    form.element);
  const end = () => {
    over = true;
    again.hidden = true;
    form.element.hidden = true;
  };
  return { element, form, end };
}

/** remove asks, and deletes a message. */
async function remove(api, arn, frame, messages) {
  const reason = h('input', { maxLength: 256, autocomplete: 'off' });
  const answer = await ask(api, {
    title: words.removeTitle, lead: words.removeLead(h('bdi', {}, frame.Sender.UserId)), submit: words.remove, danger: true,
    fields: [h('blockquote', { class: 'quote', dir: 'auto' }, frame.Content), field(words.reasonField, reason, { optional: true })],
    operation: 'DeleteMessage', input: () => ({ roomIdentifier: arn, id: frame.Id, reason: reason.value || undefined }),
  });
  if (answer) messages.ours(answer.id);
}

/** kick asks, and disconnects a user. */
export async function kick(api, arn, userId) {
  const reason = h('input', { maxLength: 256, autocomplete: 'off' });
  const answer = await ask(api, {
    title: words.kickTitle, lead: words.kickLead(h('bdi', {}, userId)), submit: words.kickSubmit, danger: true,
    fields: [field(words.reasonField, reason, { optional: true })],
    operation: 'DisconnectUser', input: () => ({ roomIdentifier: arn, userId, reason: reason.value || undefined }),
  });
  if (answer) toast(words.kickDone);
}

// A screen reader is told what comes, but not of each message in a busy room.
function announcer(signal) {
  const element = h('div', { class: 'offscreen', 'aria-live': 'polite' });
  let came = [];
  const timer = setInterval(() => {
    if (came.length === 0) return;
    element.textContent = came.length > 3 ? words.came(came.length) : came.map((frame) => frame.Type === 'MESSAGE'
      ? words.messageLabel(frame.Sender.UserId, frame.Content, false) : words.eventLabel(frame.EventName)).join('. ');
    came = [];
  }, announceEvery);
  signal.addEventListener('abort', () => clearInterval(timer));
  return { element, add: (frame) => { if (came.length < kept) came.push(frame); } };
}
