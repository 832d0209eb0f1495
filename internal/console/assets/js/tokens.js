// Chat tokens: making one, and looking into one. A token is worth what its user may do,
// so that it is kept nowhere: not in the address, not among the calls.

import { button, copy, copyCommandButton, explain, field, h, pairs, replace } from './ui.js';
import { roomAddress } from './rooms.js';
import { cliCommand, quoted } from './cli.js';
import { roomChooser } from './chooser.js';
import { text } from './text.js';

const words = text.tokens;
const capabilities = ['SEND_MESSAGE', 'DELETE_MESSAGE', 'DISCONNECT_USER'];

let handed; // a token that another page hands over: no address has it

/** handToken has the page inspect a token when it is opened next. */
export const handToken = (token) => { handed = token; };

/** tokens makes and inspects tokens; path is one to be inspected at once. */
export function tokens({ api, path = handed, signal }) {
  handed = undefined;
  const inspector = new Inspector(api, signal);
  if (path) inspector.inspect(path);
  return h('div', {},
    h('div', { class: 'head' }, h('div', {}, h('h1', {}, words.title), h('p', { class: 'faint' }, words.lead))),
    h('div', { class: 'two' }, minter(api, signal, inspector), inspector.element));
}

function minter(api, signal, inspector) {
  const room = roomChooser(api, signal);
  const user = h('input', { required: true, maxLength: 128, autocomplete: 'off', spellcheck: false });
  const boxes = capabilities.map((name) => h('label', { class: 'check' }, h('input', { type: 'checkbox', value: name, checked: name === 'SEND_MESSAGE' }), words.capabilities[name]));
  const minutes = h('input', { type: 'number', min: 1, max: 180, value: 60, required: true });
  const attributes = pairs();
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const made = h('div', { class: 'made', hidden: true });
  const go = h('button', { type: 'submit', class: 'button primary' }, words.make);
  const input = () => {
    const from = {
      roomIdentifier: room.value, userId: user.value, capabilities: boxes.map((box) => box.firstChild).filter((box) => box.checked).map((box) => box.value),
      sessionDurationInMinutes: minutes.valueAsNumber,
    };
    if (Object.keys(attributes.value).length) from.attributes = attributes.value;
    return from;
  };
  const submit = async (event) => {
    event.preventDefault();
    go.disabled = true;
    problem.hidden = true;
    try {
      const answer = await api.call('CreateChatToken', input());
      replace(made, result(api, answer, inspector));
      made.hidden = false;
      made.querySelector('textarea').focus();
    } catch (error) {
      problem.hidden = false;
      replace(problem, explain(error));
    } finally {
      go.disabled = false;
    }
  };
  const form = h('form', { onSubmit: submit },
    room.element, field(words.user, user),
    h('fieldset', {}, h('legend', {}, words.capabilitiesTitle), boxes, h('small', { class: 'faint' }, words.capabilitiesHint)),
    field(words.minutes, minutes, { hint: words.minutesHint }),
    h('fieldset', {}, h('legend', {}, words.attributes, h('span', { class: 'faint' }, ` (${text.ui.optional})`)), attributes),
    problem, h('div', { class: 'actions' }, go, copyCommandButton(() => cliCommand('CreateChatToken', input(), api.region))));
  return h('section', { class: 'card', 'aria-labelledby': 'mint' }, h('h2', { id: 'mint' }, words.mintTitle), form, made);
}

/** result shows a new token, and what to do with it. */
function result(api, { token, tokenExpirationTime, sessionExpirationTime }, inspector) {
  const box = h('textarea', { readOnly: true, rows: 3, class: 'mono', value: token, 'aria-label': words.token, spellcheck: false, onFocus: () => box.select() });
  const snippets = { wscat: wscat(api.messagingURL, token), sdk: sdk(api.messagingURL, token, tokenExpirationTime, sessionExpirationTime) };
  return [
    h('h3', {}, words.made), h('p', { class: 'faint' }, words.once), box,
    h('div', { class: 'actions' }, button(text.ui.copy, () => copySecret(token), { kind: 'primary', 'aria-label': words.copyToken }), button(words.inspectIt, () => inspector.inspect(token))),
    Object.entries(snippets).map(([name, snippet]) => h('details', { class: 'snippet' }, h('summary', {}, words.snippets[name]),
      h('pre', { tabIndex: 0, role: 'region', 'aria-label': words.snippets[name] }, h('code', {}, snippet)),
      button(text.ui.copy, () => copySecret(snippet), { kind: 'quiet', 'aria-label': `${text.ui.copy}: ${words.snippets[name]}` }))),
  ];
}

// What is copied is not shown again in the note that says so.
const copySecret = (what) => copy(what, { shown: false });

const wscat = (url, token) => `wscat -c ${quoted(url)} -s ${quoted(token)}`;

const sdk = (url, token, tokenExpires, sessionExpires) => `import { ChatRoom, SendMessageRequest } from 'amazon-ivs-chat-messaging';

const room = new ChatRoom({
  regionOrUrl: ${JSON.stringify(url.replace(/\/$/, ''))},
  tokenProvider: async () => ({
    token: ${JSON.stringify(token)},
    tokenExpirationTime: new Date(${JSON.stringify(tokenExpires)}),
    sessionExpirationTime: new Date(${JSON.stringify(sessionExpires)}),
  }),
});
room.addListener('message', ({ sender, content }) => console.log(sender.userId, content));
room.addListener('connect', () => room.sendMessage(new SendMessageRequest('Hello')));
room.connect();
`;

/** Inspector looks into a token. */
class Inspector {
  constructor(api, signal) {
    Object.assign(this, { api, signal });
    this.input = h('textarea', { rows: 3, required: true, class: 'mono', autocomplete: 'off', spellcheck: false, autocapitalize: 'off' });
    this.result = h('div', { class: 'inspected', role: 'status' });
    const form = h('form', { class: 'inspected-form', onSubmit: (event) => { event.preventDefault(); this.look(); } },
      field(words.paste, this.input, { hint: words.pasteHint }), h('div', { class: 'actions' }, h('button', { type: 'submit', class: 'button primary' }, words.inspect)));
    this.element = h('section', { class: 'card', 'aria-labelledby': 'inspect' }, h('h2', { id: 'inspect' }, words.inspectTitle), form, this.result);
    const timer = setInterval(() => this.tick(), 1000);
    signal.addEventListener('abort', () => clearInterval(timer));
  }

  /** inspect looks into a token that is known. */
  inspect(token) {
    this.input.value = token;
    this.look();
    this.element.scrollIntoView({ block: 'nearest' });
  }

  async look() {
    const token = this.input.value.trim();
    const turn = this.turn = {};
    this.times = [];
    try {
      const claims = await this.api.call('DescribeToken', { token }, { signal: this.signal });
      if (turn === this.turn) replace(this.result, this.claims(claims));
    } catch (error) {
      if (this.signal.aborted || turn !== this.turn) return;
      replace(this.result, h('p', { class: 'problem' }, words.refused[error.name] ?? explain(error)),
        words.refused[error.name] && h('details', {}, h('summary', {}, words.said), h('p', { class: 'faint' }, explain(error))));
    }
  }

  claims(claims) {
    const until = new Date(claims.tokenExpirationTime);
    const session = new Date(claims.sessionExpirationTime);
    const verdict = h('p', { class: 'verdict' });
    this.times = [];
    // Words that change of themselves as time goes by.
    const ticking = (show) => {
      show();
      this.times.push(show);
    };
    const at = (date) => {
      const left = h('span', { 'aria-live': 'off' });
      ticking(() => { left.textContent = words.expires(date - Date.now()); });
      return [left, ' ', h('time', { class: 'faint', dateTime: date.toISOString() }, words.at(date))];
    };
    ticking(() => {
      const state = claims.spent ? 'spent' : until < Date.now() ? 'expired' : 'valid';
      if (verdict.dataset.state === state) return;
      verdict.dataset.state = state;
      replace(verdict, h('strong', { class: { valid: 'good', spent: 'warn', expired: 'bad' }[state] }, words.states[state]), ' ', words.means[state]);
    });
    const given = Object.entries(claims.attributes);
    return [verdict, h('dl', { class: 'facts' }, [
      [words.room, [h('a', { href: roomAddress(claims.roomArn) }, claims.roomArn.split('/').at(-1)), ' ', h('code', { class: 'faint' }, claims.roomArn)]],
      [words.user, h('bdi', {}, claims.userId)],
      [words.capabilitiesTitle, claims.capabilities.length ? claims.capabilities.map((name) => h('span', { class: 'tag' }, name)) : words.viewOnly],
      [words.attributes, given.length ? h('ul', { class: 'plain' }, given.map(([key, value]) => h('li', {}, h('bdi', {}, key), ': ', h('bdi', {}, value)))) : words.noAttributes],
      [words.tokenUntil, at(until)], [words.sessionUntil, at(session)],
      [words.id, h('code', {}, claims.id)],
    ].map(([label, value]) => [h('dt', {}, label), h('dd', {}, value)]))];
  }

  tick() {
    for (const show of this.times ?? []) show();
  }
}
