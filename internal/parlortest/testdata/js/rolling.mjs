// Unmodified ChatRooms, as they come, behind a balancer while the servers behind it are
// restarted one after the other. It starts when the test does, stops when the test says,
// and hands over what each client sent and was shown: the test judges that.
import { SendMessageRequest } from 'amazon-ivs-chat-messaging';
import { bound, Server, Visitor } from './lib.mjs';

export const seconds = 240;
const wait = (ms) => new Promise((next) => setTimeout(next, ms));

export default async function () {
  const server = new Server('BALANCER');
  const rooms = process.env.ROOMS.split(',');
  const each = Number(process.env.VISITORS);
  let stopping = false;

  const visitors = await Promise.all(rooms.flatMap((arn, room) => Array.from({ length: each }, async (_, i) => {
    const user = `sdk-${room}-${i}`;
    const visitor = new Visitor(server.webSocketURL, async () => ({ token: (await server.token(arn, user)).token }));
    const stretches = [];
    const told = { room, user, stretches, sendings: {}, stranded: [] };
    let open;
    const close = () => {
      if (open) open.closed = Date.now();
      open = undefined;
    };
    visitor.room.addListener('connect', () => {
      close();
      stretches.push(open = { opened: Date.now() + 1, shown: [], at: [] });
    });
    visitor.room.addListener('connecting', close);
    visitor.room.addListener('disconnect', (reason) => {
      close();
      told.stranded.push(String(reason));
    });
    visitor.room.addListener('message', ({ content }) => {
      const into = open ?? stretches.at(-1);
      into.shown.push(content);
      into.at.push(Date.now());
    });
    visitor.connect();
    await visitor.next('connect');
    return { visitor, told };
  })));
  await fetch(`${process.env.CONTROL}/started`, { method: 'POST' });

  const talking = visitors.map(async ({ visitor, told }, i) => {
    await wait(20 * i);
    const under = [];
    for (let n = 0; !stopping; n++) {
      if (visitor.room.state === 'connected') {
        const key = `${told.user}/${n}`;
        const sending = told.sendings[key] = { sent: Date.now(), code: 0 };
        under.push(bound(visitor.room.sendMessage(new SendMessageRequest(key)), 5, 'the answer').then(
          () => { sending.code = 200; },
          (e) => { sending.code = e?.errorCode ?? 0; sending.error = e?.message ?? JSON.stringify(e); },
        ).then(() => { sending.answered = Date.now(); }));
      }
      await wait(200);
    }
    await Promise.all(under);
  });
  await fetch(`${process.env.CONTROL}/stop`); // answered when the test has seen enough
  stopping = true;
  await Promise.all(talking);
  await wait(1000);
  for (const { visitor, told } of visitors) {
    told.state = visitor.room.state;
    told.tokens = visitor.tokens;
  }
  await fetch(`${process.env.CONTROL}/told`, { method: 'POST', body: JSON.stringify(visitors.map(({ told }) => told)) });
}
