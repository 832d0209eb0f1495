// The console: who is signed in, which page is shown. A page is a function
// (context) => element, where context is {api, server, path, signal, title}; signal
// aborts when another page takes its place. Pages are reached by the part of the
// address after #: #/rooms, #/rooms/ARN.

import { Api, savedKey, saveKey, saveRegion, settings } from './api.js';
import { button, explain, field, h, nothing, replace, select } from './ui.js';
import { text } from './text.js';
import { rooms } from './rooms.js';
import { room } from './room.js';
import { tokens } from './tokens.js';
import { logging } from './logging.js';
import { bans } from './bans.js';
import { node } from './node.js';
import { calls } from './calls.js';

const pages = { rooms, tokens, bans, logging, node, calls };
const themeItem = 'parlor.theme';

const main = h('main', { id: 'main', tabIndex: -1 });
let server;
let api;
let regionField;
let leaving = new AbortController();
const entry = address(); // before anything is waited for

async function start() {
  applyTheme();
  try {
    server = await settings();
  } catch (error) {
    replace(document.body, h('main', { class: 'narrow' }, h('h1', {}, text.app.name), h('p', { class: 'problem', role: 'alert' }, error.message),
      button(text.ui.retry, () => location.reload(), { kind: 'primary' })));
    return;
  }
  const key = savedKey(server);
  if (key) enter(key);
  else signIn();
}

function enter(key) {
  api = new Api(server, key);
  show(entry);
  onhashchange = () => show();
}

/**
 * address is the part of the address after #. A token does not stay in it, nor in the
 * history. A room's ARN may be written with its slash as it is.
 */
function address() {
  const { hash } = location;
  const [, arn, id, rest = ''] = hash.match(/^#\/rooms\/([^/]+(?::|%3A)room)\/([^/]+)(\/.*)?$/i) ?? [];
  if (id) {
    history.replaceState(null, '', `#/rooms/${encodeURIComponent(`${decoded(arn)}/${decoded(id)}`)}${rest}`);
    return location.hash;
  }
  if (hash.startsWith('#/tokens/')) history.replaceState(null, '', '#/tokens');
  return hash;
}

/** signIn asks for an access key, and tries it before it is kept. */
function signIn() {
  const accessKey = h('input', { required: true, autocomplete: 'username', spellcheck: false });
  const secret = h('input', { type: 'password', required: true, autocomplete: 'current-password' });
  const sessionToken = h('input', { type: 'password', autocomplete: 'off' });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const form = h('form', {
    class: 'card',
    onSubmit: async (event) => {
      event.preventDefault();
      const key = { accessKey: accessKey.value.trim(), secret: secret.value.trim(), sessionToken: sessionToken.value.trim() || undefined };
      try {
        await new Api(server, key).call('ListRooms', { maxResults: 1 });
      } catch (error) {
        // A key that may not list rooms is a key.
        if (error.name !== 'AccessDeniedException') {
          problem.hidden = false;
          replace(problem, text.signIn.refused, ': ', explain(error));
          return;
        }
      }
      saveKey(key);
      enter(key);
    },
  },
  h('h1', {}, text.signIn.title), h('p', {}, text.signIn.lead),
  field(text.signIn.accessKey, accessKey), field(text.signIn.secret, secret),
  field(text.signIn.sessionToken, sessionToken, { optional: true }),
  problem, h('button', { type: 'submit', class: 'button primary' }, text.signIn.submit), h('p', { class: 'faint' }, text.signIn.hint));
  replace(document.body, h('main', { class: 'narrow', id: 'main' }, form));
  accessKey.focus();
}

/** show puts the page of an address on the screen. */
async function show(hash = address()) {
  leaving.abort();
  leaving = new AbortController();
  for (const box of document.querySelectorAll('dialog')) box.close(); // of the page that is left
  const { signal } = leaving;
  const [name = 'rooms', path] = hash.replace(/^#\/?/, '').split('/').map(decoded);
  const page = name === 'rooms' && path ? room : pages[name || 'rooms'];
  if (!main.isConnected) replace(document.body, h('a', { class: 'skip', href: '#main', onClick: (event) => { event.preventDefault(); main.focus(); } }, text.app.skip), header(), main);
  if (page === room) adopt(path.split(':')[3]);
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#/${name || 'rooms'}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  if (!page) {
    replace(main, nothing(text.app.notFound, h('a', { href: '#/rooms' }, text.app.startAgain)));
    return;
  }
  const title = (what) => { document.title = `${what} · ${text.app.name}`; };
  title(text.app.nav[name || 'rooms']);
  const first = main.childElementCount === 0;
  main.ariaBusy = 'true';
  const slow = setTimeout(() => replace(main, h('p', { class: 'empty', role: 'status' }, text.ui.loading)), 500);
  signal.addEventListener('abort', () => clearTimeout(slow));
  try {
    const element = await page({ api, server, path, signal, title });
    if (signal.aborted) return;
    clearTimeout(slow);
    replace(main, element);
    if (!first) main.focus({ preventScroll: true });
  } catch (error) {
    if (signal.aborted) return;
    clearTimeout(slow);
    replace(main, h('h1', {}, text.app.failed), h('p', { class: 'problem', role: 'alert' }, explain(error)), button(text.ui.retry, () => show(hash), { kind: 'primary' }));
  } finally {
    if (!signal.aborted) main.ariaBusy = 'false';
  }
}

/** adopt looks at the region that a room is in, which may be another than before. */
function adopt(region) {
  if (!region || region === api.region || (server.regions?.length && !server.regions.includes(region))) return;
  saveRegion(region);
  api.region = region;
  regionField.value = region;
}

// What is no percent-encoding is taken as it stands.
function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

function header() {
  const region = server.regions?.length
    ? select(server.regions.map((r) => [r, r]), api.region)
    : h('input', { value: api.region, size: 12, required: true, spellcheck: false, autocomplete: 'off', pattern: '[a-z]{2}(-[a-z]+)+-[0-9]+', title: text.app.regionAllowed });
  regionField = region;
  region.setAttribute('aria-label', text.app.region);
  region.addEventListener('change', () => {
    if (!region.reportValidity() || region.value === api.region) return;
    saveRegion(region.value);
    api.region = region.value;
    if (location.hash.startsWith('#/rooms/')) location.hash = '#/rooms';
    else show();
  });
  const theme = select(Object.entries(text.app.themes), localStorage.getItem(themeItem) ?? '', { 'aria-label': text.app.theme });
  theme.addEventListener('change', () => {
    localStorage.setItem(themeItem, theme.value);
    applyTheme();
  });
  return h('header', { class: 'top' },
    h('a', { class: 'brand', href: '#/rooms' }, h('img', { src: 'icon.svg', alt: '', width: 24, height: 24 }), text.app.name),
    h('nav', { 'aria-label': text.app.sections },
      Object.keys(pages).map((name) => h('a', { href: `#/${name}` }, text.app.nav[name])),
      h('a', { href: 'demo' }, text.app.nav.demo)),
    h('div', { class: 'who' }, region, theme,
      !server.anyKey && button(text.app.signOut, () => { saveKey(); location.reload(); }, { kind: 'quiet' })));
}

function applyTheme() {
  document.documentElement.dataset.theme = localStorage.getItem(themeItem) ?? '';
}

start();
