// Sending as any user: a form, and those who are connected by it.

import { button, field, h, newId, pairs, replace } from './ui.js';
import { user } from './messages.js';
import { text } from './text.js';

const words = text.room;
const usersItem = 'parlor.users'; // of the tab
export const capabilities = ['SEND_MESSAGE', 'DELETE_MESSAGE', 'DISCONNECT_USER'];

/**
 * composer makes the form, and the list of users that are connected from here. Its as
 * function puts a user ID into it. room() is the room as it is now.
 */
export function composer(cast, room) {
  const known = new Set(JSON.parse(sessionStorage.getItem(usersItem) ?? '[]'));
  const names = h('datalist', { id: newId('users') });
  const remember = (id) => {
    known.delete(id);
    const latest = [id, ...known].slice(0, 50);
    known.clear();
    latest.forEach((one) => known.add(one));
    sessionStorage.setItem(usersItem, JSON.stringify(latest));
    replace(names, latest.map((value) => h('option', { value })));
  };
  const as = h('input', { required: true, maxLength: 256, autocomplete: 'off', spellcheck: false, list: names.id, value: [...known][0] ?? 'viewer-1' });
  replace(names, [...known].map((value) => h('option', { value })));

  const may = capabilities.map((name) => h('label', { class: 'check' }, h('input', { type: 'checkbox', value: name, checked: name === 'SEND_MESSAGE' }), words.capabilities[name]));
  const chosen = () => may.map((box) => box.firstChild).filter((box) => box.checked).map((box) => box.value);
  // A user who is connected may do what the connection says, until that is changed here.
  as.addEventListener('change', () => {
    const there = cast.members.get(as.value);
    if (there) may.forEach((box) => { box.firstChild.checked = there.capabilities.includes(box.firstChild.value); });
  });

  const attributes = pairs();
  const count = h('span', { class: 'counter faint', id: newId('count') });
  const content = h('textarea', { rows: 3, autocomplete: 'off', 'aria-describedby': count.id });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const measure = () => {
    const length = codePoints(content.value);
    const most = room().maximumMessageLength;
    count.textContent = words.length(length, most);
    count.classList.toggle('bad', length > most);
  };
  content.addEventListener('input', measure);
  content.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  const go = h('button', { type: 'submit', class: 'button primary' }, words.send);

  let sending = false;
  const form = h('form', {
    class: 'composer', 'aria-label': words.sendTitle,
    onSubmit: async (event) => {
      event.preventDefault();
      if (sending) return;
      sending = true;
      go.setAttribute('aria-disabled', 'true');
      const said = content.value;
      const map = attributes.value;
      try {
        const member = cast.as(as.value, chosen());
        await member.ready();
        remember(member.userId);
        await member.connection.send({ Action: 'SEND_MESSAGE', Content: said, Attributes: Object.keys(map).length ? map : undefined });
        problem.hidden = true;
        if (content.value === said) content.value = '';
      } catch (error) {
        problem.hidden = false;
        replace(problem, error.status > 0 && [h('strong', {}, error.name === 'Error' ? String(error.status) : error.name), ' '], h('bdi', {}, error.message));
      } finally {
        sending = false;
        go.removeAttribute('aria-disabled');
        measure();
      }
    },
  },
  field(words.as, as), names,
  field(words.content, content),
  h('div', { class: 'actions' }, count, h('span', { class: 'gap' }), h('span', { class: 'faint keys' }, words.sendKeys), go),
  problem,
  h('details', {}, h('summary', {}, words.may), h('fieldset', {}, h('legend', { class: 'offscreen' }, words.may), may, h('p', { class: 'faint' }, words.mayHint))),
  h('details', {}, h('summary', {}, words.attributes), h('fieldset', {}, h('legend', { class: 'offscreen' }, words.attributes), attributes)));
  measure();

  return {
    element: h('section', { class: 'side', 'aria-label': words.sendTitle }, h('div', { class: 'card' }, form), h('div', { class: 'card' }, h('h2', {}, words.fromHere), connected(cast))),
    measure,
    as(id) {
      as.value = id;
      as.dispatchEvent(new Event('change'));
      content.focus();
    },
  };
}

/** connected is the list of users that have, or had, a connection from here. */
function connected(cast) {
  const list = h('ul', { class: 'cast' });
  const none = h('p', { class: 'faint' }, words.nobodyFromHere);
  const rows = new Map(); // by member
  const draw = () => {
    const members = [...cast.members.values()];
    none.hidden = members.length > 0;
    list.hidden = members.length === 0;
    for (const [member, row] of rows) {
      if (cast.members.get(member.userId) === member) continue;
      if (row.element.contains(document.activeElement)) list.parentElement.closest('section').querySelector('textarea').focus();
      row.element.remove();
      rows.delete(member);
    }
    for (const member of members) {
      if (!rows.has(member)) rows.set(member, row(cast, member, list));
      rows.get(member).draw();
    }
  };
  cast.addEventListener('change', draw);
  draw();
  return h('div', {}, none, list);
}

function row(cast, member, list) {
  const state = h('span', { class: 'state' });
  const again = button(words.again, () => member.connection.open(), { kind: 'quiet', 'aria-label': words.againFor(member.userId) });
  const element = h('li', {},
    h('div', {}, user(member.userId), ' ', state),
    again, button('×', () => cast.dismiss(member), { kind: 'quiet', 'aria-label': words.leave(member.userId), title: words.leave(member.userId) }));
  list.append(element);
  return {
    element,
    draw() {
      showState(state, member);
      again.hidden = !member.closed;
    },
  };
}

/** showState says in an element how a member's connection stands. */
export function showState(element, member) {
  const { state } = member.connection;
  element.dataset.state = state;
  const closed = member.closed && [words.closed(member.closed.code), member.closed.reason && [' ', h('bdi', {}, member.closed.reason)]];
  replace(element, h('span', { class: 'dot', 'aria-hidden': 'true' }), closed || words.states[state]);
}

/** codePoints is how long a message is by the server's count: without white space at its ends. */
export const codePoints = (content) => [...content.replace(/^\p{White_Space}+|\p{White_Space}+$/gu, '')].length;
