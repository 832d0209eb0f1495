// The parts that pages are made of. Everything is made by h: no HTML is ever read from
// a string, so nothing that a user wrote becomes a part of the page.

import { contained, text } from './text.js';
import { ours } from './api.js';
import { cliCommand } from './cli.js';

/**
 * h makes an element. Properties are set as such; those that begin with "on" are
 * listeners, "class", "aria-…", "data-…" and "role" attributes; undefined and false are
 * left out. Children are nodes, strings, or arrays of them; null and false are left out.
 */
export function h(tag, properties = {}, ...children) {
  const element = tag.startsWith('svg:') ? document.createElementNS('http://www.w3.org/2000/svg', tag.slice(4)) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2).toLowerCase(), value);
    else if (name in element && !tag.startsWith('svg:') && !['list', 'form', 'role'].includes(name)) element[name] = value;
    else element.setAttribute(name, value === true ? '' : value);
  }
  // These isolate what they hold, if it lets them.
  const isolates = tag === 'bdi' || properties?.dir === 'auto';
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (isolates && typeof child === 'string' ? contained(child) : child)));
  return element;
}

/** replace gives an element new children. */
export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let ids = 0;
/** newId is an id that no other element of the page has. */
export const newId = (of) => `${of}-${++ids}`;

/** button makes a button; kind is '', 'primary', 'danger' or 'quiet'. */
export function button(label, onClick, { kind = '', ...properties } = {}) {
  return h('button', { type: 'button', class: `button ${kind}`.trim(), onClick, ...properties }, label);
}

/** field puts a label, and perhaps a hint, to an input. */
export function field(label, input, { hint, optional = false } = {}) {
  input.id ||= newId('field');
  const note = hint && h('small', { id: newId('hint') }, hint);
  if (note) input.setAttribute('aria-describedby', note.id);
  return h('div', { class: 'field' },
    h('label', { htmlFor: input.id }, label, optional && h('span', { class: 'faint' }, ` (${text.ui.optional})`)),
    input, note);
}

/** select makes a select of [value, label] pairs. */
export function select(options, value, properties = {}) {
  return h('select', properties, options.map(([v, label]) => h('option', { value: v, selected: v === value }, label)));
}

/** pairs edits a map of strings. Its value property is the map. */
export function pairs(map = {}, { keyLabel = text.ui.key, valueLabel = text.ui.value } = {}) {
  const rows = h('div', { class: 'pairs-rows' });
  const add = (key = '', value = '') => {
    const row = h('div', { class: 'pair' },
      h('input', { value: key, 'aria-label': keyLabel, placeholder: keyLabel, autocomplete: 'off', spellcheck: false }),
      h('input', { value, 'aria-label': valueLabel, placeholder: valueLabel, autocomplete: 'off', spellcheck: false }),
      button('×', () => { row.remove(); element.querySelector('.add').focus(); }, { kind: 'quiet', 'aria-label': `${text.ui.remove} ${key}`.trim() }));
    rows.append(row);
    return row;
  };
  Object.entries(map).forEach(([key, value]) => add(key, value));
  const element = h('div', { class: 'pairs', role: 'group' }, rows,
    button(text.ui.add, () => add().querySelector('input').focus(), { kind: 'quiet add' }));
  Object.defineProperty(element, 'value', {
    get: () => Object.fromEntries(Array.from(rows.children, (row) => Array.from(row.querySelectorAll('input'), (input) => input.value)).filter(([key]) => key !== '')),
  });
  return element;
}

/** dialog shows a modal dialog and returns it; it is gone once closed, and the focus back where it was. */
export function dialog(title, ...children) {
  const heading = h('h2', { id: newId('title') }, title);
  const element = h('dialog', { 'aria-labelledby': heading.id }, heading, children);
  element.addEventListener('close', () => {
    const said = element.contains(toasts);
    element.remove();
    if (said) raise(); // what was said stays
  });
  element.addEventListener('pointerdown', (event) => {
    const box = element.getBoundingClientRect(); // a press between the fields is none beside the dialog
    const beside = event.clientX < box.left || event.clientX > box.right || event.clientY < box.top || event.clientY > box.bottom;
    if (event.target === element && beside) element.close();
  });
  document.body.append(element);
  element.showModal();
  return element;
}

/**
 * ask shows a form in a dialog whose answer is one call of an operation, or a few:
 * calls() are [operation, input] each. fields are elements; input() makes the operation's
 * input of them. It returns what the last operation answered, or undefined if the person
 * thought better of it. A refusal is said in the dialog, which stays. What is on its way
 * when the dialog is closed is waited for all the same.
 */
export function ask(api, { title, lead, fields = [], operation, input, calls = () => [[operation, input()]], submit, danger = false }) {
  return new Promise((resolve) => {
    let answer;
    let sending = false;
    const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
    const go = h('button', { type: 'submit', class: `button ${danger ? 'danger' : 'primary'}` }, submit);
    const form = h('form', {
      method: 'dialog',
      onSubmit: async (event) => {
        event.preventDefault();
        if (sending) return;
        sending = true;
        go.disabled = true;
        try {
          for (const [name, members] of calls()) answer = await api.call(name, members);
          sending = false;
          if (box.isConnected) box.close();
          else resolve(answer);
        } catch (error) {
          answer = undefined;
          problem.hidden = false;
          replace(problem, explain(error));
          if (!box.isConnected) {
            failed(error);
            resolve();
          }
        } finally {
          sending = false;
          go.disabled = false;
        }
      },
    },
    lead && h('p', {}, lead), fields, problem,
    h('footer', { class: 'actions' },
      copyCommandButton(() => calls().map(([name, members]) => cliCommand(name, members, api.region)).join('\n'), { own: ours.has(operation) }),
      h('span', { class: 'gap' }),
      button(text.ui.cancel, () => box.close()), go));
    const box = dialog(title, form);
    box.addEventListener('close', () => { if (!sending) resolve(answer); });
    (form.querySelector('input, textarea, select') ?? go).focus();
  });
}

/** explain is an error in words. */
export function explain(error) {
  return error.name && error.name !== 'Error' ? [h('strong', {}, error.name), ' ', error.message] : error.message;
}

/** copyCommandButton copies the command that command() returns: of the AWS CLI, or, with own, of parlor. */
export function copyCommandButton(command, { own = false, ...properties } = {}) {
  return button(own ? text.ui.copyOwnCommand : text.ui.copyCommand, () => copy(command()), { kind: 'quiet', ...properties });
}

/** copy puts text on the clipboard, and says so; what is a secret is not shown. */
export async function copy(what, { shown = true } = {}) {
  const detail = shown ? what : undefined;
  try {
    if (navigator.clipboard) await navigator.clipboard.writeText(what);
    else copyOld(what);
    toast(text.ui.copied, { detail });
  } catch {
    toast(text.ui.copyFailed, { detail, problem: true });
  }
}

// Pages by http:// from another machine have no navigator.clipboard.
function copyOld(what) {
  const box = h('textarea', { value: what, class: 'offscreen' });
  (document.querySelector('dialog[open]') ?? document.body).append(box);
  box.select();
  const done = document.execCommand('copy');
  box.remove();
  if (!done) throw new Error(text.ui.copyFailed);
}

let toasts;
/** toast says something for a few seconds; action is a button in it: [label, function]. */
export function toast(message, { detail, problem = false, action } = {}) {
  toasts ??= h('div', { class: 'toasts', role: 'status', 'aria-live': 'polite', popover: 'manual' });
  raise();
  const element = h('div', { class: `toast ${problem ? 'bad' : ''}`.trim() },
    h('div', {}, message, detail && h('code', {}, detail.length > 160 ? detail.slice(0, 160) + '…' : detail)),
    action && button(action[0], action[1], { kind: 'quiet' }),
    button('×', () => element.remove(), { kind: 'quiet', 'aria-label': text.ui.dismiss }));
  toasts.append(element);
  while (toasts.children.length > 4) toasts.firstChild.remove();
  setTimeout(() => element.remove(), problem ? 12_000 : 5_000);
}

// In the top layer, over what dialog is open, and in it: what is outside is out of reach.
function raise() {
  const at = document.querySelector('dialog[open]') ?? document.body;
  if (toasts.isConnected && toasts.matches(':popover-open')) toasts.hidePopover();
  if (toasts.parentNode !== at) at.append(toasts);
  toasts.showPopover();
}

/** failed says that something did not work. */
export const failed = (error) => toast(text.app.failed, { detail: [error.name, error.message].filter((part) => part && part !== 'Error').join(': '), problem: true });

/** nothing is what stands where a list is empty. */
export const nothing = (title, ...more) => h('div', { class: 'empty' }, h('p', { class: 'empty-title' }, title), more.length ? h('p', {}, more) : null);

/** time shows a time of the API as its age; its exact value is in the title. */
export function when(time) {
  const date = new Date(time);
  return h('time', { dateTime: date.toISOString(), title: date.toISOString() }, text.ui.ago(Date.now() - date));
}

/**
 * every calls a function now and again each so many milliseconds, while the page is
 * shown and until the signal aborts. A failure of it is said to failing, if given; the next turn
 * comes all the same.
 */
export function every(ms, signal, work, failing = () => {}) {
  let timer;
  const turn = async () => {
    try {
      if (!document.hidden) await work();
    } catch (error) {
      if (!signal.aborted) failing(error);
    }
    if (!signal.aborted) timer = setTimeout(turn, ms);
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
}
