import { h } from './ui.js';
import { text } from './text.js';

export function node() {
  return h('h1', {}, text.app.nav.node ?? 'node');
}
