// The demo: people who watch a live stream and talk beside it. Each of them is what a
// product's page would be: a token from the product's backend, a WebSocket, JSON. The
// API and the wire are those of Amazon IVS Chat. Take what you need.
import { connect } from './js/api.js';

const names = ['Mia', 'Jonas', 'Aiko', 'Tunde'];
const reactions = { '❤️': 'Heart', '👏': 'Applause', '😂': 'Laughter', '😮': 'Surprise' };
const smallTalk = ['Is that the full moon?', 'Best seat on the train 🚂', 'The dining car has soup', 'Where are we now?',
  'Past the third viaduct', 'I could watch this all night', 'Look, a village!', 'Someone wave back at them'];

const $ = (selector, within = document) => within.querySelector(selector);
const make = (tag, properties) => Object.assign(document.createElement(tag), properties);
const copy = (template) => $(template).content.firstElementChild.cloneNode(true);

let api; // signs requests to the API
let room; // where everybody is
const seats = []; // the host's first, then the viewers'

/** fetchToken is where a product asks its own backend, which knows who is signed in and what they may do, and calls
 * CreateChatToken with its own key. This page does that itself, since whoever opened it has a key. */
async function fetchToken(user) {
  const capabilities = user.host ? ['SEND_MESSAGE', 'DELETE_MESSAGE', 'DISCONNECT_USER'] : ['SEND_MESSAGE'];
  const attributes = { name: user.name, tone: user.tone }; // others get them with each message
  return (await api.call('CreateChatToken', { roomIdentifier: room.arn, userId: user.id, capabilities, attributes })).token;
}

/** Chat is a user's connection to the room. It comes back as the official SDKs do: with a fresh token, after a socket
 * that broke or a session that ran out, and not after a close by which the server says goodbye. */
class Chat {
  #socket;
  #tries = 0; // since it was last connected

  /** onstate is told 'connecting', 'connected', 'reconnecting' or 'ended' and why; onframe what the room says. */
  constructor(user, onstate, onframe) { Object.assign(this, { user, onstate, onframe }); }

  async connect() {
    this.onstate(this.#tries ? 'reconnecting' : 'connecting');
    try {
      const token = await fetchToken(this.user);
      const socket = this.#socket = new WebSocket(location.origin.replace('http', 'ws'), token);
      socket.onopen = () => { this.#tries = 0; this.onstate('connected'); };
      socket.onclose = ({ wasClean, reason }) => (wasClean ? this.onstate('ended', reason) : this.#again('The server is gone.'));
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        if (frame.Type === 'ERROR' && frame.ErrorCode === 401) this.cut(); // the session ran out
        else this.onframe(frame);
      };
    } catch (error) {
      this.#again(error.message);
    }
  }

  /** cut leaves the socket as if it had broken, and for some milliseconds there were no network. */
  cut(ms = 0) {
    Object.assign(this.#socket, { onclose: null, onmessage: null }).close();
    this.#again('', ms);
  }

  #again(why, ms = 0) {
    if (++this.#tries > 9) { this.#tries = 0; return this.onstate('ended', why); }
    this.onstate('reconnecting');
    // At first at once, as the SDKs do; where they would soon give up, this waits longer each time.
    if (this.#tries > 1) ms = (0.5 + Math.random() / 2) * Math.min(8000, 250 * 2 ** this.#tries);
    setTimeout(() => this.connect(), ms);
  }

  send(Action, fields) { this.#socket.send(JSON.stringify({ Action, RequestId: String(Math.random()), ...fields })); }
}

/** seat brings a user into the page and into the room. */
function seat(name, host = false) {
  const user = { name, host, id: `${name.toLowerCase()}-${Math.random().toString(36).slice(2, 8)}`, tone: String(seats.length) };
  const pane = copy('#pane');
  const part = (selector) => $(selector, pane);
  const say = (Content, Attributes) => chat.send('SEND_MESSAGE', { Content, Attributes });
  const tab = make('button', { type: 'button', textContent: name, onclick: () => choose(user) });
  seats.push({ user, pane, tab, say });
  Object.assign(pane.dataset, { tone: user.tone, role: host ? 'host' : 'viewer' });
  part('h2').textContent = pane.ariaLabel = name;
  part('.face').textContent = name[0];
  part('.cut').ariaLabel = `Cut the line of ${name}`;
  part('.messages').ariaLabel = `What ${name} sees`;
  part('input').ariaLabel = `Message from ${name}`;
  $(host ? '#show' : '#viewers').append(pane);
  $('#tabs').append(tab);

  const chat = new Chat(user, (state, why) => {
    pane.dataset.state = part('.state').textContent = state;
    for (const button of pane.querySelectorAll('.cut, form button')) button.disabled = state !== 'connected';
    part('.over').hidden = state !== 'ended';
    part('.over p').textContent = why || 'The connection has ended.';
    $('#watching').textContent = `${viewers().length} watching`;
  }, (frame) => {
    const about = frame.Attributes ?? {};
    if (frame.Type === 'ERROR') part('.error').textContent = frame.ErrorMessage;
    else if (frame.EventName === 'aws:DELETE_MESSAGE') vanish(pane, about.MessageId);
    else if (frame.EventName === 'aws:DISCONNECT_USER') add(pane, farewell(about.UserId));
    else if (frame.Type === 'MESSAGE' && !about.reaction) add(pane, message(frame, chat));
    else if (about.reaction && host) float(frame.Content); // once for all of this page
  });
  part('form').onsubmit = (event) => {
    event.preventDefault();
    part('.error').textContent = '';
    if (part('input').value.trim()) say(part('input').value);
    part('input').value = '';
  };
  part('.emoji').append(...Object.entries(reactions).map(([textContent, ariaLabel]) => (
    make('button', { type: 'button', textContent, ariaLabel, onclick: () => say(textContent, { reaction: 'yes' }) }))));
  part('.cut').onclick = () => chat.cut(3000);
  part('.over button').onclick = () => chat.connect();
  chat.connect();
  return user;
}

const viewers = () => seats.filter(({ user, pane }) => !user.host && pane.dataset.state === 'connected');

function farewell(id) {
  const name = seats.find(({ user }) => user.id === id)?.user.name ?? 'Someone'; // of another window
  return make('p', { className: 'note', textContent: `${name} was removed` });
}

function message({ Id, Content, Sender: { UserId, Attributes } }, chat) {
  const item = copy('#message');
  const name = Attributes?.name ?? UserId;
  Object.assign(item.dataset, { id: Id, tone: Attributes?.tone, own: UserId === chat.user.id });
  $('.name', item).textContent = name;
  $('.text', item).textContent = Content; // not innerHTML: anybody may have written it
  const act = (button, ariaLabel, onclick) => Object.assign($(button, item), { ariaLabel, onclick });
  act('.delete', `Delete “${Content}”`, () => chat.send('DELETE_MESSAGE', { Id, Reason: 'The host took it back.' }));
  act('.remove', `Remove ${name}`, () => chat.send('DISCONNECT_USER', { UserId, Reason: 'The host asked you to leave.' }));
  if (!chat.user.host) $('.tools', item).remove();
  return item;
}

/** add keeps the newest line in sight, unless somebody reads further up. */
function add(pane, item) {
  const list = $('.messages', pane);
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  list.append(item);
  if (list.children.length > 200) list.firstElementChild.remove();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

function vanish(pane, id) {
  const item = $(`[data-id="${CSS.escape(id)}"]`, pane);
  if (item?.contains(document.activeElement)) item.parentElement.focus(); // the host's button goes as well
  item?.classList.add('vanishing');
  setTimeout(() => item?.remove(), 400); // when its transition is over
}

/** float sends a reaction up over the picture. */
function float(textContent) {
  const sign = make('span', { textContent, onanimationend: () => sign.remove() });
  sign.style.left = `${5 + Math.random() * 85}%`;
  $('#reactions').append(sign);
}

/** choose says who is shown where there is room for one, and whose list a screen reader follows. */
function choose(chosen) {
  for (const { user, pane, tab } of seats) {
    tab.ariaPressed = pane.dataset.shown = user === chosen;
    $('.messages', pane).ariaLive = user === chosen ? 'polite' : 'off';
  }
}

function play(on) {
  $('#stage').dataset.playing = on;
  $('#play').textContent = on ? 'Pause' : 'Play';
}

function theme(name) {
  document.documentElement.dataset.theme = localStorage['parlor.theme'] = name;
  $('#theme').textContent = `Theme: ${name || 'system'}`;
}

theme(localStorage['parlor.theme'] ?? '');
play(!matchMedia('(prefers-reduced-motion: reduce)').matches);
$('#theme').onclick = () => theme({ '': 'dark', dark: 'light', light: '' }[document.documentElement.dataset.theme]);
$('#play').onclick = () => play($('#stage').dataset.playing !== 'true');
$('#add').onclick = () => { choose(seat(names.shift())); $('#add').disabled = !names.length; };
let turn = 0; // who talks next, and what of
setInterval(() => {
  if ($('#talk').checked) viewers()[turn % viewers().length]?.say(smallTalk[turn++ % smallTalk.length]);
}, 1500);

try {
  api = await connect();
  const list = async () => (await api.call('ListRooms', { name: 'demo' })).rooms;
  if (!(await list()).length) await api.call('CreateRoom', { name: 'demo' });
  // The oldest, so that two windows that both created one meet.
  [room] = (await list()).sort((a, b) => a.createTime.localeCompare(b.createTime));
  seat('Host', true);
  choose(seat(names.shift()));
  seat(names.shift());
  $('#add').disabled = false;
} catch (error) {
  $('#trouble span').textContent = error.message;
  $('#trouble').hidden = false;
}
