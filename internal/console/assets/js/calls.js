// What the console called, so that a person can do it again elsewhere.

import { button, copy, copyCommandButton, h, nothing, replace } from './ui.js';
import { cliCommand } from './cli.js';
import { ours } from './api.js';
import { text } from './text.js';

export function calls({ api, signal }) {
  const list = h('div');
  const draw = () => replace(list, api.calls.length ? table(api) : nothing(text.calls.none));
  api.addEventListener('call', draw, { signal });
  draw();
  return h('div', {}, h('h1', {}, text.calls.title), h('p', { class: 'faint' }, text.calls.lead), list);
}

function table(api) {
  return h('div', { class: 'scroll' }, h('table', {},
    h('thead', {}, h('tr', {}, [text.calls.time, text.calls.operation, text.calls.outcome, text.calls.took, text.calls.request].map((label) => h('th', { scope: 'col' }, label)))),
    h('tbody', {}, api.calls.map((call) => h('tr', {},
      h('td', {}, h('time', { dateTime: call.begun.toISOString() }, call.begun.toLocaleTimeString())),
      h('td', {}, call.operation),
      h('td', { class: call.error ? 'bad' : '' }, call.error ? `${call.error.name} ${call.error.message}` : String(call.status)),
      h('td', { class: 'number' }, text.calls.ms(call.took)),
      h('td', { class: 'actions' },
        button(text.ui.copy, () => copy(JSON.stringify(call.input, null, 2)), { kind: 'quiet', 'aria-label': `${text.ui.copy}: ${call.operation}` }),
        cliCommand(call.operation, call.input, api.region) && copyCommandButton(() => cliCommand(call.operation, call.input, api.region), { own: ours.has(call.operation) })))))));
}
