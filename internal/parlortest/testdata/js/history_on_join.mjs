// A room with a history, on a server that compresses and on one that does not.
import { talk } from './history.mjs';
import { Server } from './lib.mjs';

export default async function () {
  await Promise.all([talk(new Server()), talk(new Server('DEFLATED'))]);
}
