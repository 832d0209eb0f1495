import { h } from './ui.js';
import { text } from './text.js';

export function logging() {
  return h('h1', {}, text.app.nav.logging ?? 'logging');
}
