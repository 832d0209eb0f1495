// Logging configurations: where chat logs go, and what still waits on this node.

import { ask, button, copy, every, failed, field, h, nothing, pairs, replace, select, toast } from './ui.js';
import { loggingConfigurations, roomAddress, tagOf, tagResource } from './rooms.js';
import { Failures, lateness } from './backlog.js';
import { text } from './text.js';

const words = text.logging;
const mostRooms = 50; // that are listed as users of a configuration

// The kinds of destination: the member of the API that has it, and that member's own.
const kinds = {
  s3: { member: 'bucketName', pattern: '[a-z0-9.\\-]{3,63}' },
  cloudWatchLogs: { member: 'logGroupName', pattern: '[.\\-_\\/#A-Za-z0-9]{1,512}' },
  firehose: { member: 'deliveryStreamName', pattern: '[a-zA-Z0-9_.\\-]{1,64}' },
};

/** destination is [kind, name] of a configuration. */
const destination = ({ destinationConfiguration: all }) => {
  const [kind, members] = Object.entries(all ?? {})[0] ?? ['', {}];
  return [kind, members[kinds[kind]?.member] ?? ''];
};

export async function logging({ api, server, signal }) {
  const view = new View(api, signal);
  await view.load();
  setTimeout(() => every(2000, signal, () => view.live(), () => view.unknown()));
  return h('div', {},
    h('div', { class: 'head' }, h('div', {}, h('h1', {}, words.title), h('p', { class: 'faint' }, words.lead)), button(words.create, () => view.edit(), { kind: 'primary' })),
    server.mode === 'dev' && h('details', { class: 'card note' }, h('summary', {}, words.localTitle), h('p', {}, words.local),
      h('dl', { class: 'facts' }, Object.entries(words.localPlaces).map(([kind, place]) => [h('dt', {}, words.kinds[kind]), h('dd', {}, h('code', {}, place))]))),
    view.element);
}

class View {
  constructor(api, signal) {
    Object.assign(this, { api, signal });
    this.element = h('div', { class: 'configurations' });
    this.failures = new Failures();
  }

  async load() {
    this.all = await loggingConfigurations(this.api);
    this.rows = new Map(); // what of a configuration changes, by ARN
    replace(this.element, this.all.length ? this.all.map((c) => this.card(c)) : h('div', { class: 'card' }, nothing(words.none, words.noneFirst)));
  }

  card(configuration) {
    const { arn, id, name, state, tags = {} } = configuration;
    const [kind, to] = destination(configuration);
    const records = h('dd', {});
    const mark = h('p', { class: 'mark', role: 'status' });
    const label = name || id;
    this.rows.set(arn, { records, mark, kind });
    const act = (what, work, kindOf = 'quiet') => button(what, () => work().catch(failed), { kind: kindOf, 'aria-label': `${what}: ${label}` });
    return h('section', { class: 'card configuration', 'data-arn': arn, 'aria-label': label },
      h('div', { class: 'head' },
        h('div', {}, h('h2', {}, h('bdi', {}, name || text.rooms.unnamed), ' ', h('code', { class: 'faint' }, id)),
          Object.keys(tags).length > 0 && h('p', {}, Object.entries(tags).map(([key, value]) => tagOf(key, value)))),
        h('div', { class: 'actions' },
          act(text.rooms.edit, () => this.edit(configuration)), act(text.rooms.tags, () => this.tag(configuration)),
          act(words.copyARN, () => copy(arn)), act(text.rooms.delete, () => this.remove(configuration)))),
      h('dl', { class: 'facts' },
        h('dt', {}, words.destination), h('dd', {}, words.kinds[kind] ?? kind, ' ', h('code', {}, to)),
        h('dt', {}, words.state), h('dd', { class: state === 'ACTIVE' ? 'good' : 'warn' }, words.states[state] ?? state),
        h('dt', {}, words.backlog), records),
      mark, this.users(configuration, label));
  }

  /** users tells which rooms use a configuration, once it is asked. */
  users({ arn }, label) {
    const list = h('div', {});
    const open = async (event) => {
      if (!event.target.open) return;
      try {
        const { rooms, nextToken } = await this.api.call('ListRooms', { loggingConfigurationIdentifier: arn, maxResults: mostRooms }, { quiet: true, signal: this.signal });
        replace(list, rooms.length ? h('ul', {}, rooms.map((room) => h('li', {}, h('a', { href: roomAddress(room.arn) }, h('bdi', {}, room.name || text.rooms.unnamed)), ' ', h('code', { class: 'faint' }, room.id)))) : h('p', { class: 'faint' }, words.unused),
          nextToken && h('p', { class: 'faint' }, words.moreRooms(mostRooms)));
      } catch (error) {
        if (!this.signal.aborted) failed(error);
      }
    };
    return h('details', { onToggle: open }, h('summary', {}, words.users, h('span', { class: 'offscreen' }, `: ${label}`)), list);
  }

  /** live shows what waits now. */
  async live() {
    const node = await this.api.call('DescribeNode', {}, { quiet: true, signal: this.signal });
    this.failures.add(node);
    for (const [arn, { records, mark, kind }] of this.rows) {
      const backlogs = node.backlogs.filter((b) => b.loggingConfiguration === arn && (b.records > 0 || b.partial));
      const adopted = backlogs.some((b) => b.adopted);
      const sum = (of) => backlogs.reduce((n, b) => n + of(b), 0);
      const oldest = backlogs.map((b) => b.oldestTime).filter(Boolean).sort()[0];
      const age = oldest ? Math.max(Date.parse(node.time) - Date.parse(oldest), 0) : 0;
      const waiting = sum((b) => b.records);
      records.textContent = waiting === 0 ? words.empty : words.waiting(waiting, sum((b) => b.bytes), oldest ? words.age(age) : '', backlogs.some((b) => b.partial));
      const why = waiting > 0 ? this.failures.of(arn) : '';
      const late = lateness(kind, age);
      const said = [why && words.failing[why], late && words.old, adopted && words.adopted].filter(Boolean).join(' ');
      if (mark.textContent !== said) mark.textContent = said;
      mark.classList.toggle('bad', Boolean(why || late));
      mark.hidden = said === '';
    }
  }

  unknown() {
    for (const { records } of this.rows.values()) records.textContent = words.unknown;
  }

  /** changed shows the list anew. */
  async changed(said) {
    if (said) toast(said);
    await this.load();
    await this.live().catch(() => this.unknown());
  }

  async edit(configuration) {
    if (await editConfiguration(this.api, configuration)) await this.changed(configuration ? text.rooms.saved : words.made);
  }

  async tag({ arn, tags = {} }) {
    if (await tagResource(this.api, arn, tags)) await this.changed(text.rooms.saved);
  }

  async remove({ arn, id, name }) {
    const answer = await ask(this.api, {
      title: words.deleteTitle, lead: words.deleteLead(name || id), submit: text.rooms.delete, danger: true,
      operation: 'DeleteLoggingConfiguration', input: () => ({ identifier: arn }),
    });
    if (answer) await this.changed(words.deleted);
  }
}

/** editConfiguration makes a configuration or, given one, changes it. */
function editConfiguration(api, configuration) {
  const [kind, to] = configuration ? destination(configuration) : ['s3', ''];
  const name = h('input', { value: configuration?.name ?? '', maxLength: 128, pattern: '[a-zA-Z0-9_\\-]*', title: text.ui.nameAllowed, autocomplete: 'off', spellcheck: false });
  const where = select(Object.keys(kinds).map((k) => [k, words.kinds[k]]), kind);
  const target = h('input', { value: to, required: true, autocomplete: 'off', spellcheck: false });
  const targetField = field(words.names[kind], target);
  const fit = () => {
    targetField.querySelector('label').textContent = words.names[where.value];
    target.pattern = kinds[where.value].pattern;
    target.title = words.allowed[where.value];
  };
  where.addEventListener('change', fit);
  fit();
  const tags = pairs();
  return ask(api, {
    title: configuration ? words.editTitle : words.create, submit: configuration ? text.rooms.save : words.createIt,
    operation: configuration ? 'UpdateLoggingConfiguration' : 'CreateLoggingConfiguration',
    input: () => {
      const input = { identifier: configuration?.arn, name: name.value, destinationConfiguration: { [where.value]: { [kinds[where.value].member]: target.value } } };
      if (!configuration && !name.value) delete input.name;
      if (!configuration && Object.keys(tags.value).length) input.tags = tags.value;
      return input;
    },
    fields: [field(words.kind, where), targetField, field(text.rooms.name, name, { optional: true }),
      !configuration && h('fieldset', {}, h('legend', {}, text.rooms.tags), tags)],
  });
}
