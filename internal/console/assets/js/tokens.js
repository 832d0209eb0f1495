import { h } from './ui.js';
import { text } from './text.js';

export function tokens() {
  return h('h1', {}, text.app.nav.tokens ?? 'tokens');
}
