// @ts-check
// Isolation: who is in which worker, what each uses of its limits, who runs apart and why, whose
// fault the last ends were, and that everybody else went on meanwhile.
import { h, useEffect } from '../vendor.js'
import { mayAct, path, post } from '../api.js'
import { useLook } from '../live.js'
import { to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName, Dot } from '../ui/colour.js'
import { AskButton } from '../ui/dialog.js'
import { count, plural, span } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Meter, size } from '../ui/meter.js'
import { Tabs, Title } from '../ui/page.js'
import { Table } from '../ui/table.js'
import { Time, moment } from '../ui/time.js'
import { Why } from './apart.js'

/** Batches of one worker that are drawn. */
const SHOWN = 6
/** Ends that nobody is at fault for. */
const PEACEFUL = ['recycle', 'drain']

/** @param {{batches: Api.WorkerAtWork['batches']}} props */
export function Batches({ batches }) {
  if (!Array.isArray(batches) || batches.length === 0) return h('p', { class: 'soft' }, 'No batch.')
  return h(
    'ul',
    { class: 'batches' },
    batches
      .slice(0, SHOWN)
      .map((batch, at) =>
        h(
          'li',
          { key: `${batch.connection} ${at}` },
          h(ConnectionName, { name: batch.connection }),
          h('span', { class: 'soft' }, ` ${plural(batch.events, 'event')}, for ${span(batch.since_s)}`),
          batch.step && h('div', { class: 'soft mono' }, h(Text, { text: batch.step })),
        ),
      ),
    batches.length > SHOWN && h('li', { class: 'soft' }, `${plural(batches.length - SHOWN, 'batch', 'batches')} more`),
  )
}

/** @param {{worker: Api.WorkerAtWork}} props */
export function Memory({ worker }) {
  const { memory_limit_bytes: hard, memory_soft_bytes: soft, rss_bytes } = worker
  return h(
    'div',
    null,
    h(Meter, { label: `Memory of ${worker.id}`, value: rss_bytes, soft, hard }),
    h(
      'div',
      { class: 'soft' },
      `${size(rss_bytes)}${hard ? ` of ${size(hard)}` : ''}${soft ? `, replaced at ${size(soft)}` : ''}`,
    ),
  )
}

/** @param {{worker: Api.WorkerAtWork, kind: 'worker' | 'spare' | 'apart'}} props */
function Card({ worker, kind }) {
  const last = worker.last_exit
  return h(
    'li',
    { class: `card worker ${kind}` },
    h(
      'div',
      { class: 'bar' },
      kind === 'spare'
        ? h('b', null, 'Spare')
        : kind === 'apart'
          ? h('b', null, 'Apart: ', worker.connection && h(ConnectionName, { name: worker.connection }))
          : h('b', null, h('a', { href: to(['workers', worker.id]) }, worker.id)),
      h(Chip, { state: worker.state }),
      worker.flags?.map(flag => h('span', { key: flag, class: 'chip quiet' }, flag.replaceAll('_', ' '))),
    ),
    h(Memory, { worker }),
    h(
      'div',
      { class: 'soft' },
      worker.pid === null ? 'no process' : `pid ${worker.pid}, for ${span(worker.uptime_s)}`,
      worker.lag_s !== null && worker.lag_s !== undefined && `, loop lag ${span(worker.lag_s)}`,
    ),
    kind !== 'spare' && h(Batches, { batches: worker.batches }),
    worker.why && h(Why, { why: worker.why }),
    last &&
      h(
        'div',
        { class: 'last-exit' },
        h('span', { class: PEACEFUL.includes(last.reason) ? '' : 'bad' }, last.reason),
        ' ',
        h(
          'a',
          { href: last.exit ? to(['exits', last.exit]) : to(['exits'], { worker: worker.id }) },
          h(Time, { at: last.at, ago: true }),
        ),
        last.connection && [' ', h(ConnectionName, { name: last.connection })],
      ),
  )
}

/** @param {{blame: Api.Pool['blame']}} props */
function Blame({ blame }) {
  if (blame.length === 0) return h(Empty, null, 'No connection has cost anybody anything.')
  return h(Table, {
    label: 'Blame by connection',
    rows: blame,
    keyOf: (/** @type {Api.Pool['blame'][0]} */ each) => each.connection,
    columns: /** @type {import('../ui/table.js').Column<Api.Pool['blame'][0]>[]} */ ([
      {
        head: 'Connection',
        cell: each => [h(Dot, { name: each.connection }), each.connection],
        link: each => to(['connections', each.connection, 'delivery']),
      },
      {
        head: 'Standing',
        cell: each => (each.apart ? h('span', { title: each.apart.text }, each.standing) : each.standing),
      },
      { head: 'Score, trips at 4', isNumber: true, cell: each => each.score.toFixed(1) },
      {
        head: 'Deaths',
        isNumber: true,
        cell: each => h('a', { href: to(['exits'], { connection: each.connection }) }, count(each.worker_deaths)),
      },
      { head: 'Used up', isNumber: true, cell: each => count(each.workers_used_up) },
      {
        head: 'Hogged',
        isNumber: true,
        cell: each => (each.hogs ? h('span', { title: each.hogs }, count(each.hogged)) : count(each.hogged)),
      },
      { head: 'Sent again', isNumber: true, cell: each => count(each.extra_executions) },
      {
        head: 'Quarantined',
        isNumber: true,
        cell: each =>
          h(
            'a',
            { href: to(['deadletters'], { connection: each.connection, outcome: 'quarantined' }) },
            count(each.quarantined),
          ),
      },
    ]),
  })
}

/** Ends of workers under what everybody got delivered at that time. @param {{exits: Api.Exit[], trends: Api.Trends}} props */
function Claim({ exits, trends }) {
  const { times, columns } = trends
  if (times.length < 2) return h(Empty, null, 'Not enough was counted yet to draw.')
  const total = times.map((_, at) =>
    ['delivered_first_try', 'delivered_on_retry'].reduce((sum, key) => sum + (columns[key]?.[at] ?? 0), 0),
  )
  const from = times[0],
    wide = times[times.length - 1] + trends.step_s - from,
    high = Math.max(1, ...total)
  const bar = 600 / total.length
  const ends = exits
    .map(exit => ({ exit, x: (600 * (moment(exit.at).getTime() / 1000 - from)) / wide }))
    .filter(({ x }) => x >= 0 && x <= 600)
  return h(
    'figure',
    { class: 'card claim' },
    h(
      'figcaption',
      { class: 'soft' },
      `Delivered each ${span(trends.step_s)}, all connections of the service, and the ends of workers of this pool: ${plural(ends.length, 'end')} in this time`,
    ),
    h(
      'svg',
      {
        viewBox: '0 0 600 120',
        preserveAspectRatio: 'none',
        role: 'img',
        'aria-label': `Deliveries over time with ${plural(ends.length, 'end')} of workers`,
      },
      total.map((n, at) =>
        h('rect', {
          key: times[at],
          class: 'claim-bar',
          x: (at * bar).toFixed(2),
          width: Math.max(0.5, bar * 0.85).toFixed(2),
          y: (118 - (100 * n) / high).toFixed(1),
          height: ((100 * n) / high).toFixed(1),
        }),
      ),
      ends.map(({ exit, x }) =>
        h('line', { key: exit.id, class: 'claim-end', x1: x.toFixed(1), x2: x.toFixed(1), y1: 0, y2: 118 }),
      ),
    ),
    h(
      'div',
      { class: 'soft bar ends' },
      h(Time, { at: from }),
      h('span', null, `at most ${count(Math.round(high))}`),
      h(Time, { at: from + wide }),
    ),
  )
}

/** @param {{exits: Api.Exit[]}} props */
export function ExitTable({ exits }) {
  if (exits.length === 0) return h(Empty, null, 'No worker has ended.')
  return h(Table, {
    label: 'Ends of workers',
    rows: exits,
    keyOf: (/** @type {Api.Exit} */ each) => each.id,
    columns: /** @type {import('../ui/table.js').Column<Api.Exit>[]} */ ([
      { head: 'When', class: 'fit', cell: each => h(Time, { at: each.at }), link: each => to(['exits', each.id]) },
      { head: 'Worker', class: 'fit', cell: each => each.worker },
      {
        head: 'Of what',
        class: 'fit',
        cell: each => h('span', { class: PEACEFUL.includes(each.reason) ? '' : 'bad' }, each.reason),
      },
      {
        head: 'Whose fault',
        cell: each =>
          each.connection ? h(ConnectionName, { name: each.connection }) : h('span', { class: 'soft' }, 'nobody’s'),
      },
      { head: 'Detail', class: 'text', cell: each => h(Text, { text: each.detail }) },
    ]),
  })
}

/** @param {{pool: Api.Pool}} props */
function Inside({ pool }) {
  const trends = useGet('trends', {}, 60)
  return h(
    'div',
    null,
    pool.state_reason && h('p', { class: 'warn' }, h(Text, { text: pool.state_reason })),
    pool.leaks_together.map(group =>
      h(
        'p',
        { key: group.connections.join(' '), class: 'notice warn' },
        `Memory grows by ${size(Math.round(group.bytes_per_event))} an event of one or some of `,
        group.connections.map(name => [' ', h(ConnectionName, { key: name, name })]),
        group.held_by && [': held by ', h(Text, { text: group.held_by })],
      ),
    ),
    h('h2', null, 'Workers'),
    pool.workers.length === 0
      ? h(Empty, null, 'No worker serves.')
      : h(
          'ul',
          { class: 'rows cards wide' },
          pool.workers.map(worker => h(Card, { key: worker.id, worker, kind: 'worker' })),
        ),
    pool.apart.length > 0 &&
      h(
        'div',
        null,
        h('h2', null, 'Apart'),
        h(
          'ul',
          { class: 'rows cards wide' },
          pool.apart.map(worker =>
            h(Card, {
              key: `${worker.connection} ${worker.pid}`,
              worker,
              kind: 'apart',
            }),
          ),
        ),
      ),
    h('h2', null, 'Spares'),
    pool.spares.length === 0
      ? h(Empty, null, 'None is ready now.')
      : h(
          'ul',
          { class: 'rows cards wide' },
          pool.spares.map(worker => h(Card, { key: String(worker.pid), worker, kind: 'spare' })),
        ),
    h('h2', null, 'Blame'),
    h(Blame, { blame: pool.blame }),
    h('h2', null, 'The last ends, and everybody else'),
    h(Loading, {
      of: trends,
      what: 'the trend',
      children: (/** @type {Api.Trends} */ found) => h(Claim, { exits: pool.exits, trends: found }),
    }),
    h(ExitTable, { exits: pool.exits }),
    pool.loosened.length > 0 &&
      h('p', { class: 'soft' }, `Its workers may do more than the strict profile: ${pool.loosened.join(', ')}.`),
  )
}

/** @param {{worker: string}} props */
export function Recycle({ worker }) {
  if (!mayAct()) return null
  return h(AskButton, {
    label: 'Recycle',
    title: `Recycle ${worker}?`,
    run: () => post(path('workers', worker, 'recycle')),
    children: h('p', null, 'It takes no new batch, finishes what it has, and a spare takes its place.'),
  })
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Isolation({ params }) {
  const overview = useGet('overview', {}, 10)
  const names = /** @type {Api.Overview | null} */ (overview.value)?.pools.map(pool => pool.name) ?? []
  const name = params.name ?? (names.length === 1 ? names[0] : undefined)
  const look = useLook(name === undefined ? null : `pool:${name}`)
  useEffect(() => {
    if (params.name === undefined && name !== undefined) history.replaceState(null, '', to(['pools', name]))
  }, [name])
  const state = /** @type {Api.Pool | null} */ (look.value)?.state
  return h(
    'div',
    null,
    h(
      Title,
      { title: name === undefined ? 'Isolation' : `Isolation: ${name}`, up: [[to(['exits']), 'All exits']] },
      state && h(Chip, { state }),
    ),
    names.length > 1 &&
      h(Tabs, {
        label: 'Pools',
        tabs: names.map(each => /** @type {[string, string]} */ ([each, each])),
        chosen: name ?? '',
        link: (/** @type {string} */ each) => to(['pools', each]),
      }),
    name !== undefined
      ? h(Loading, { of: look, what: 'the pool', children: (/** @type {Api.Pool} */ pool) => h(Inside, { pool }) })
      : h(Loading, {
          of: overview,
          what: 'the pools',
          children: () => (names.length === 0 ? h(Empty, null, 'There is no pool.') : h('p', null, 'Choose a pool.')),
        }),
  )
}
