// A field for a room: a list to search by name or ID, or an ARN to paste.

import { field, h, newId, replace } from './ui.js';
import { text } from './text.js';

const most = 2000; // rooms that are looked through
const shown = 50; // that are listed at a time
const words = text.tokens;

/** roomChooser returns {element, value}: value is the ARN that was chosen, or what was typed. */
export function roomChooser(api, signal) {
  const list = h('ul', { role: 'listbox', id: newId('rooms'), class: 'choices', 'aria-label': words.room, hidden: true });
  const input = h('input', { required: true, autocomplete: 'off', spellcheck: false, role: 'combobox', 'aria-controls': list.id, 'aria-expanded': 'false', 'aria-autocomplete': 'list', placeholder: words.roomPlaceholder });
  const chosen = h('small', {});
  let rooms; // once they are read
  let arn;
  let active = -1;

  const read = async () => {
    if (rooms) return;
    rooms = [];
    try {
      for await (const page of api.pages('ListRooms', { maxResults: 50 }, { quiet: true, signal })) {
        rooms.push(...page.rooms);
        if (!list.hidden) open();
        if (rooms.length >= most) break;
      }
    } catch { /* an ARN can be pasted all the same */ }
  };
  const close = () => {
    list.hidden = true;
    active = -1;
    input.setAttribute('aria-expanded', 'false');
    input.removeAttribute('aria-activedescendant');
  };
  const choose = (room) => {
    arn = room.arn;
    input.value = room.name || room.id;
    replace(chosen, h('code', {}, arn));
    close();
  };
  const matching = () => {
    const wanted = arn ? '' : input.value.trim().toLowerCase();
    return rooms.filter((room) => (room.name ?? '').toLowerCase().includes(wanted) || room.arn.toLowerCase().includes(wanted)).slice(0, shown);
  };
  const open = () => {
    const found = matching();
    active = Math.min(active, found.length - 1);
    replace(list, found.length === 0 ? h('li', { role: 'option', 'aria-disabled': 'true', 'aria-selected': 'false', class: 'faint' }, words.noRoom) : found.map((room, i) => h('li', {
      role: 'option', id: `${list.id}-${i}`, 'aria-selected': String(i === active),
      // The press must not take the focus away, which closes the list.
      onPointerdown: (event) => event.preventDefault(), onClick: () => choose(room),
    }, h('bdi', {}, room.name || text.rooms.unnamed), ' ', h('code', { class: 'faint' }, room.id))));
    list.hidden = false;
    input.setAttribute('aria-expanded', 'true');
    if (active >= 0) {
      input.setAttribute('aria-activedescendant', `${list.id}-${active}`);
      list.children[active].scrollIntoView({ block: 'nearest' });
    } else {
      input.removeAttribute('aria-activedescendant');
    }
  };
  input.addEventListener('focus', read, { once: true });
  input.addEventListener('click', () => read().then(open));
  input.addEventListener('input', () => {
    arn = undefined;
    replace(chosen);
    active = -1;
    read().then(open);
  });
  input.addEventListener('blur', () => {
    close();
    const said = input.value.trim();
    const named = (rooms ?? []).filter((room) => said && [room.name, room.id, room.arn].includes(said));
    if (!arn && named.length === 1) choose(named[0]);
  });
  input.addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !list.hidden) {
      event.preventDefault();
      close();
    } else if (event.key === 'Enter' && active >= 0) {
      event.preventDefault();
      choose(matching()[active]);
    } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && rooms) {
      event.preventDefault();
      const count = Math.max(matching().length, 1);
      active = event.key === 'ArrowDown' ? (active + 1) % count : (Math.max(active, 0) - 1 + count) % count;
      open();
    }
  });
  const element = field(words.room, input, { hint: words.roomHint });
  element.classList.add('chooser');
  input.after(list, chosen);
  return { element, get value() { return arn ?? input.value.trim(); } };
}
