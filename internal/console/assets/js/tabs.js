// Tabs: one panel of several is shown. Arrow keys, Home and End go from tab to tab.

import { h, newId } from './ui.js';

/**
 * tabs makes them of {key, label, panel, shown}: shown(is) is called when its panel
 * appears or goes. choose is told the key of the one that is shown, chosen is the first.
 */
export function tabs(label, all, chosen, choose = () => {}) {
  const list = h('div', { class: 'tabs', role: 'tablist', 'aria-label': label });
  const show = (key, focus = false) => {
    for (const one of all) {
      const is = one.key === key;
      one.tab.setAttribute('aria-selected', is);
      one.tab.tabIndex = is ? 0 : -1;
      if (is && focus) one.tab.focus();
      if (one.panel.hidden !== is) continue;
      one.panel.hidden = !is;
      one.shown?.(is);
    }
    choose(key);
  };
  for (const one of all) {
    one.panel.id ||= newId('panel');
    one.tab = h('button', { type: 'button', role: 'tab', id: newId('tab'), 'aria-controls': one.panel.id, onClick: () => show(one.key) }, one.label);
    one.panel.setAttribute('role', 'tabpanel');
    one.panel.setAttribute('aria-labelledby', one.tab.id);
    one.panel.hidden = true;
    list.append(one.tab);
  }
  list.addEventListener('keydown', (event) => {
    const at = all.findIndex((one) => one.tab === document.activeElement);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    show(all.at(to % all.length).key, true);
  });
  show(all.some((one) => one.key === chosen) ? chosen : all[0].key);
  return { element: [list, all.map((one) => one.panel)], show };
}
