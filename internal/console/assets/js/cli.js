// What the console does, as commands of the AWS CLI, or of parlor for what only Parlor has.

import { ours } from './api.js';

/** cliCommand is the command that calls an operation, or '' where there is none. */
export function cliCommand(operation, input, region, endpoint = location.origin) {
  if (ours.has(operation)) return verbs[operation] ? parlorCommand(operation, input, region, endpoint) : '';
  const words = ['aws', 'ivschat', dashed(operation)];
  const members = Object.entries(input).filter(([, value]) => value !== undefined && !Number.isNaN(value));
  if (members.some(([, value]) => [value].flat().some(mistaken))) words.push('--cli-input-json', quoted(JSON.stringify(Object.fromEntries(members))));
  else for (const [name, value] of members) words.push('--' + dashed(name), ...argument(value));
  words.push('--region', quoted(region), '--endpoint-url', quoted(endpoint));
  return words.join(' ');
}

const verbs = { BanUser: 'ban', UnbanUser: 'unban', MuteUser: 'mute', UnmuteUser: 'unmute', ListBans: 'bans', PurgeUser: 'purge' };

/** parlorCommand is the command for what the AWS CLI does not have. */
function parlorCommand(operation, { roomIdentifier, durationInSeconds, reason, kind, userId }, region, endpoint) {
  const words = [`AWS_REGION=${quoted(region)}`, 'parlor', verbs[operation]];
  const flags = { room: roomIdentifier, for: durationInSeconds && `${durationInSeconds}s`, reason, kind, user: operation === 'ListBans' ? userId : undefined, endpoint };
  for (const [name, value] of Object.entries(flags)) if (value) words.push(`--${name}=${quoted(value)}`);
  if (operation !== 'ListBans') words.push('--', quoted(userId));
  return words.join(' ');
}

const dashed = (name) => name.replace(/(?<=[a-z0-9])[A-Z]/g, (c) => '-' + c).toLowerCase();

// The AWS CLI takes what begins so for an option, for what it is to read, or for JSON.
const mistaken = (value) => typeof value === 'string' && /^(-|(fileb?|https?):\/\/|\s*[[{])/.test(value);

function argument(value) {
  if (Array.isArray(value) && value.every((v) => typeof v === 'string')) {
    return value.length ? value.map(quoted) : ["'[]'"];
  }
  return [quoted(typeof value === 'object' ? JSON.stringify(value) : String(value))];
}

/** quoted is a word for a POSIX shell. */
export const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) && !word.startsWith('-') ? word : `'${word.replaceAll("'", "'\\''")}'`);
