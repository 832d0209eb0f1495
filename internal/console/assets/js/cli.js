// What the console does, as commands of the AWS CLI.

import { ours } from './api.js';

/** cliCommand is the AWS CLI command that calls an operation, or '' where there is none. */
export function cliCommand(operation, input, region, endpoint = location.origin) {
  if (ours.has(operation)) return '';
  const words = ['aws', 'ivschat', dashed(operation)];
  for (const [name, value] of Object.entries(input)) {
    if (value === undefined) continue;
    words.push('--' + dashed(name), ...argument(value));
  }
  words.push('--region', quoted(region), '--endpoint-url', quoted(endpoint));
  return words.join(' ');
}

const dashed = (name) => name.replace(/(?<=[a-z0-9])[A-Z]/g, (c) => '-' + c).toLowerCase();

function argument(value) {
  if (Array.isArray(value) && value.every((v) => typeof v === 'string')) {
    return value.length ? value.map(quoted) : ["'[]'"];
  }
  if (typeof value === 'object') return [quoted(JSON.stringify(value))];
  const word = String(value);
  // Said to be a file, or an option, by how it begins; JSON is read as it stands.
  return /^(file|fileb):\/\//.test(word) ? [quoted(JSON.stringify(word))] : [quoted(word)];
}

/** quoted is a word for a POSIX shell. */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) && !word.startsWith('-') ? word : `'${word.replaceAll("'", "'\\''")}'`);
