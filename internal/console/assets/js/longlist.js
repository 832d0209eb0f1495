// A list of very many rows of differing heights, of which only those in sight are in the
// document. Rows stand in the flow of the page; padding stands for the rest. What is
// known of an item's height is kept with the item, so that one walk over all of them,
// once a frame, says where each is: ten thousand additions are nothing.

import { button, h } from './ui.js';

const beyond = 300; // pixels above and below what is in sight that have rows
const near = 16; // pixels from the end that count as the end
const passes = 4; // measured heights move rows into sight, whose heights are measured …

/**
 * LongList shows items in their order. Each item has a number n, greater than those
 * before it, and is in one list only; the list keeps its height in it. At the end it
 * stays at the end as items come, unless a row has the focus. Rows are walked by the
 * arrow keys, Page Up and Down, Home and End.
 *
 *   render  (item) => the row's element. Its controls are reached by Tab from their row only.
 *   open    (item, row) => what Enter and the menu key do
 *   words   {latest, fresh: (count) => string}: of the button that leads to the end
 */
export class LongList {
  items = [];
  #shown = new Map(); // rows in the document, by item
  #atEnd = true;
  #anchor; // {item, offset}: what is at the top edge, where not at the end
  #current; // the item that has the focus, or had it last
  #fresh = 0; // items that came since the end was in sight
  #frame = 0;
  #scrolledTo = 0;

  constructor({ label, render, open, words, empty, guess = 34 }) {
    Object.assign(this, { render, open, words, guess });
    this.rows = h('div', { role: 'feed', 'aria-label': label });
    this.view = h('div', { class: 'long-view', role: 'group', 'aria-label': label, tabIndex: 0, hidden: true }, this.rows);
    this.latest = button('', () => this.toEnd(), { kind: 'latest', hidden: true });
    this.empty = h('div', { class: 'long-empty' }, empty);
    this.element = h('div', { class: 'long' }, this.view, this.empty, this.latest);
    this.view.addEventListener('scroll', () => this.#scrolled(), { passive: true });
    this.view.addEventListener('keydown', (event) => this.#key(event));
    this.view.addEventListener('focusin', (event) => this.#focused(event.target));
    this.view.addEventListener('contextmenu', (event) => { if (event.button !== 2) event.preventDefault(); }); // by key: see #key
    this.element.addEventListener('focusout', (event) => { if (!this.element.contains(event.relatedTarget)) this.#released(); });
    new ResizeObserver(() => this.#draw()).observe(this.element);
  }

  /** reset shows other items, at their end if that was in sight. */
  reset(items) {
    this.items = items;
    this.#fresh = 0;
    for (const [item, row] of this.#shown) {
      if (!this.has(item)) this.#unmount(item, row);
    }
    this.#later();
  }

  /** append adds an item at the end. */
  append(item) {
    this.items.push(item);
    if (!this.#atEnd || this.#holding) this.#fresh++;
    this.#later();
  }

  /** dropBefore takes away the items whose number is less. */
  dropBefore(n) {
    const count = this.#indexOf(n);
    for (const item of this.items.splice(0, count)) {
      const row = this.#shown.get(item);
      if (row) this.#unmount(item, row);
    }
    this.#fresh = Math.min(this.#fresh, this.items.length);
    this.#later();
  }

  /** update renders an item anew. */
  update(item) {
    const old = this.#shown.get(item);
    if (!old) return;
    const focus = old.contains(document.activeElement);
    const row = this.#make(item);
    old.replaceWith(row);
    this.#shown.set(item, row);
    if (focus) row.focus({ preventScroll: true });
    this.#later();
  }

  has(item) {
    return this.items[this.#indexOf(item.n)] === item;
  }

  /** focus puts the focus on an item's row, and that into sight. */
  focus(item) {
    const index = this.#indexOf(item.n);
    if (this.items[index] !== item) return this.view.focus();
    this.#current = item;
    this.#reveal(index);
    return this.#shown.get(item)?.focus({ preventScroll: true });
  }

  /** toEnd shows the last items, and stays with them. */
  toEnd() {
    this.#holding = false;
    this.#atEnd = true;
    this.#fresh = 0;
    this.#draw();
    // The button that asked for it is gone.
    if (document.activeElement === document.body) this.focus(this.items.at(-1));
  }

  // A row that has the focus stays where it is: new ones wait below.
  #holding = false;

  #focused(target) {
    if (target === this.view) {
      if (this.#parked) return;
      const item = this.#current && this.has(this.#current) ? this.#current : this.#lastInSight();
      if (item) this.focus(item);
      return;
    }
    this.#parked = false;
    const row = target.closest('article');
    for (const [item, shown] of this.#shown) {
      if (shown === row) this.#current = item;
    }
    this.#stops();
    if (this.#atEnd && !this.#holding) {
      this.#setAnchor();
      this.#holding = true;
    }
  }

  #released() {
    this.#parked = false;
    if (!this.#holding) return;
    this.#holding = false;
    if (this.#atEnd) this.#fresh = 0;
    this.#later();
  }

  // The row that had the focus left the document: the list itself has it meanwhile.
  #parked = false;

  #unmount(item, row) {
    if (row.contains(document.activeElement)) {
      this.#parked = true;
      this.view.tabIndex = 0;
      this.view.focus({ preventScroll: true });
    }
    row.remove();
    this.#shown.delete(item);
  }

  #make(item) {
    const row = this.render(item);
    row.tabIndex = -1;
    row.setAttribute('aria-posinset', item.n + 1);
    row.setAttribute('aria-setsize', -1);
    for (const control of row.querySelectorAll('button, a')) control.tabIndex = item === this.#current ? 0 : -1;
    if (item === this.#current) row.tabIndex = 0;
    return row;
  }

  // One row, and what is in it, can be reached by Tab.
  #stops() {
    for (const [item, row] of this.#shown) {
      const to = item === this.#current ? 0 : -1;
      if (row.tabIndex === to) continue;
      row.tabIndex = to;
      for (const control of row.querySelectorAll('button, a')) control.tabIndex = to;
    }
    this.view.tabIndex = this.#shown.has(this.#current) ? -1 : 0;
  }

  #key(event) {
    const onRow = event.target === this.view || event.target.matches('article');
    const at = this.#current ? this.#indexOf(this.#current.n) : this.items.length;
    const page = Math.max(1, [...this.#shown.values()].filter((row) => this.#inSight(row)).length - 1);
    const to = { ArrowUp: at - 1, ArrowDown: at + 1, PageUp: at - page, PageDown: at + page, Home: 0, End: this.items.length - 1 }[event.key];
    const menu = event.key === 'ContextMenu' || (event.key === 'F10' && event.shiftKey);
    if (event.altKey || event.ctrlKey || event.metaKey || this.items.length === 0) return;
    if (to !== undefined) {
      this.focus(this.items[Math.max(0, Math.min(to, this.items.length - 1))]);
      if (event.key === 'End') this.#atEnd = true;
    } else if ((menu || (onRow && event.key === 'Enter')) && this.#current && this.has(this.#current)) {
      this.focus(this.#current);
      this.open(this.#current, this.#shown.get(this.#current));
    } else return;
    event.preventDefault();
  }

  #inSight(row) {
    const box = row.getBoundingClientRect();
    const view = this.view.getBoundingClientRect();
    return box.bottom > view.top && box.top < view.bottom;
  }

  #lastInSight() {
    return [...this.#shown].filter(([, row]) => this.#inSight(row)).map(([item]) => item).sort((a, b) => a.n - b.n).at(-1);
  }

  // #reveal scrolls as little as will do for an item to be in sight.
  #reveal(index) {
    for (let pass = 0; pass < passes; pass++) {
      const tops = this.#tops();
      const { scrollTop, clientHeight } = this.view;
      const above = tops[index] < scrollTop;
      if (!above && tops[index + 1] <= scrollTop + clientHeight) break;
      this.#atEnd = false;
      this.#holding = false;
      this.#anchorAt(above ? tops[index] : Math.min(tops[index], tops[index + 1] - clientHeight), tops);
      this.#draw();
    }
  }

  #scrolled() {
    if (Math.abs(this.view.scrollTop - this.#scrolledTo) < 1) return; // by #draw
    this.#scrolledTo = this.view.scrollTop;
    this.#holding = false;
    this.#atEnd = this.view.scrollTop + this.view.clientHeight >= this.view.scrollHeight - near;
    if (this.#atEnd) this.#fresh = 0;
    this.#setAnchor();
    this.#later();
  }

  #setAnchor() {
    this.#anchorAt(this.view.scrollTop, this.#tops());
  }

  #anchorAt(top, tops) {
    const index = search(tops, top);
    this.#anchor = { item: this.items[index], offset: top - tops[index] };
  }

  #later() {
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  /** #tops are where the items begin, and, last, where the last one ends. */
  #tops() {
    const tops = new Float64Array(this.items.length + 1);
    this.items.forEach((item, i) => { tops[i + 1] = tops[i] + (item.height ?? this.guess); });
    return tops;
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const none = this.items.length === 0;
    this.empty.hidden = !none;
    this.view.hidden = none;
    const height = this.view.clientHeight;
    if (none || height === 0) {
      this.latest.hidden = true;
      return;
    }
    let scroll = 0;
    let total = 0;
    for (let pass = 0; pass < passes; pass++) {
      const tops = this.#tops();
      total = tops[this.items.length];
      if (this.#atEnd && !this.#holding) scroll = total - height;
      else if (this.#anchor?.item) {
        const index = Math.min(this.#indexOf(this.#anchor.item.n), this.items.length - 1);
        scroll = tops[index] + (this.items[index] === this.#anchor.item ? this.#anchor.offset : 0);
      }
      scroll = Math.max(0, Math.min(scroll, total - height));
      const first = search(tops, scroll - beyond);
      const last = search(tops, scroll + height + beyond);
      this.#mount(first, last);
      this.rows.style.paddingTop = `${tops[first]}px`;
      this.rows.style.paddingBottom = `${total - tops[last + 1]}px`;
      if (!this.#measure()) break;
    }
    if (Math.abs(this.view.scrollTop - scroll) > 0.5) this.view.scrollTop = scroll;
    this.#scrolledTo = this.view.scrollTop;
    this.#stops();
    if (total <= height) { // all of it is in sight
      this.#atEnd = true;
      this.#fresh = 0;
    }
    const away = !this.#atEnd || (this.#holding && this.#fresh > 0);
    this.latest.hidden = !away;
    const label = this.#fresh ? this.words.fresh(this.#fresh) : this.words.latest;
    if (away && this.latest.textContent !== label) this.latest.textContent = label;
  }

  #mount(first, last) {
    const wanted = new Set(this.items.slice(first, last + 1));
    for (const [item, row] of this.#shown) {
      if (!wanted.has(item)) this.#unmount(item, row);
    }
    // Those that stay are in their order: a row is never moved, which would cost it the focus.
    let next = this.rows.firstChild;
    for (const item of wanted) {
      let row = this.#shown.get(item);
      if (row && row === next) {
        next = row.nextSibling;
        continue;
      }
      row ??= this.#make(item);
      this.rows.insertBefore(row, next);
      this.#shown.set(item, row);
    }
  }

  /** #measure takes down how high the rows are; it reports whether any is not what it was thought to be. */
  #measure() {
    let changed = false;
    for (const [item, row] of this.#shown) {
      const { height } = row.getBoundingClientRect();
      if (Math.abs(height - (item.height ?? this.guess)) < 0.25) continue;
      item.height = height;
      changed = true;
    }
    return changed;
  }

  /** #indexOf is the index of the first item whose number is n or more. */
  #indexOf(n) {
    let low = 0;
    let high = this.items.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle].n < n) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** search is the index of the item at a place: the last that begins there or before. */
function search(tops, place) {
  let low = 0;
  let high = tops.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (tops[middle] <= place) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}
