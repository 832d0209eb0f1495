// A menu of actions beside what they are for.

import { button, h } from './ui.js';

/**
 * menu opens a menu of [label, function, kind] entries at an element, within another that
 * keeps it. It closes by Escape, by a choice, or by a click elsewhere; back puts the focus where it was.
 */
export function menu(within, at, label, entries, back) {
  const done = () => {
    if (!element.isConnected) return;
    const had = element.contains(document.activeElement);
    element.remove();
    if (had) back();
  };
  const choose = (action) => () => {
    done();
    action();
  };
  const element = h('div', { class: 'menu', role: 'menu', 'aria-label': label, popover: 'auto' },
    entries.map(([words, action, kind = '']) => button(words, choose(action), { kind: `quiet ${kind}`, role: 'menuitem', tabIndex: -1 })));
  element.addEventListener('keydown', (event) => {
    const all = [...element.children];
    const on = all.indexOf(document.activeElement);
    const to = { ArrowDown: on + 1, ArrowUp: on - 1, Home: 0, End: -1 }[event.key];
    if (event.key === 'Tab') done();
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    all.at(to % all.length).focus();
  });
  element.addEventListener('toggle', (event) => { if (event.newState === 'closed') done(); });
  within.append(element);
  element.showPopover();
  const spot = at.getBoundingClientRect();
  const own = element.getBoundingClientRect();
  element.style.left = `${Math.max(8, Math.min(spot.right - own.width, innerWidth - own.width - 8))}px`;
  element.style.top = `${Math.max(8, spot.bottom + own.height + 8 > innerHeight ? spot.top - own.height : spot.bottom)}px`;
  element.firstChild.focus();
}
