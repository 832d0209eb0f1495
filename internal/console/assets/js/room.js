import { h } from './ui.js';
import { text } from './text.js';

export function room() {
  return h('h1', {}, text.app.nav.room ?? 'room');
}
