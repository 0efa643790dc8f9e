// @ts-check
// One worker: its memory over time, whose batches it runs, what it keeps open, and evidence of it.
import { h, useState } from '../vendor.js'
import { ApiError, getText, mayAct, path, post } from '../api.js'
import { go, to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName } from '../ui/colour.js'
import { count, span } from '../ui/format.js'
import { Raw } from '../ui/json.js'
import { Empty, Loading, Problem, useGet } from '../ui/load.js'
import { Curve, size } from '../ui/meter.js'
import { Facts, Title } from '../ui/page.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'
import { Why } from './apart.js'
import { Batches, Memory, Recycle } from './pools.js'

/** @param {[string, number][]} rows */
const byCount = rows => rows.sort((a, b) => b[1] - a[1])

/** What it holds open, now and in the last minute. @param {{open: Record<string, number>, curve?: Api.Points, what: string}} props */
export function OpenConnections({ open, curve = [], what }) {
  const rows = byCount(Object.entries(open)),
    total = rows.reduce((sum, [, n]) => sum + n, 0)
  return h(
    'div',
    { class: 'card' },
    h('div', null, h('b', { class: 'n' }, count(total)), ` ${what}`),
    h(Curve, {
      label: `Open connections in the last minute, ${count(total)} at its end`,
      points: curve.map(([ago, n]) => /** @type {[number, number]} */ ([-ago, n])),
    }),
    rows.length > 0 &&
      h(
        'ul',
        { class: 'named-list' },
        rows.slice(0, 20).map(([name, n]) => h('li', { key: name }, h(ConnectionName, { name }), ` ${count(n)}`)),
      ),
    rows.length > 20 && h('p', { class: 'soft' }, `${rows.length - 20} more connections`),
  )
}

/** Saves a text as a file. @param {string} text @param {string} name */
function save(text, name) {
  const link = document.createElement('a'),
    url = URL.createObjectURL(new Blob([text], { type: 'application/json' }))
  link.href = url
  link.download = name
  link.click()
  setTimeout(() => {
    URL.revokeObjectURL(url)
  }, 60_000)
}

/** @param {{worker: string}} props */
function Evidence({ worker }) {
  const [stacks, show] = useState(/** @type {string | null} */ (null)),
    [busy, work] = useState('')
  const [error, fail] = useState(/** @type {ApiError | null} */ (null))
  /** @param {string} what @param {() => Promise<void>} run */
  const doing = (what, run) => async () => {
    work(what)
    fail(null)
    try {
      await run()
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught
      fail(caught)
    } finally {
      work('')
    }
  }
  const button = (/** @type {string} */ label, /** @type {() => Promise<void>} */ run) =>
    h(
      'button',
      { type: 'button', disabled: busy !== '', onClick: doing(label, run) },
      busy === label ? `${label}…` : label,
    )
  return h(
    'section',
    { 'aria-labelledby': 'evidence' },
    h('h2', { id: 'evidence' }, 'Evidence'),
    h(
      'div',
      { class: 'bar' },
      button('Stacks', async () => {
        show(await getText(path('debug', 'workers', worker, 'stacks')))
      }),
      button('Profile for 10 s', async () => {
        save(await getText(path('debug', 'workers', worker, 'profile'), { seconds: 10 }), `${worker}.speedscope.json`)
      }),
      button('Take a snapshot', async () => {
        go(to(['heaps', (await post('debug/snapshots', { worker })).name]))
      }),
      h(Recycle, { worker }),
    ),
    h(
      'p',
      { class: 'soft' },
      'A profile is a file for speedscope, which you open from your disk. A snapshot is taken in a copy: the worker goes on.',
    ),
    h(Problem, { error }),
    stacks !== null && h(Raw, { text: stacks, label: `stacks of ${worker}` }),
  )
}

/** @param {{worker: Api.WorkerAtWork}} props */
function Inside({ worker }) {
  const hard = worker.memory_limit_bytes
  return h(
    'div',
    null,
    worker.connection && h('p', null, 'It serves ', h(ConnectionName, { name: worker.connection }), ' and no other.'),
    worker.why && h(Why, { why: worker.why }),
    h(
      'div',
      { class: 'cards wide' },
      h(
        'div',
        { class: 'card' },
        h('h2', null, 'Memory'),
        h(Memory, { worker }),
        h(Curve, {
          label: `Memory over time, ${size(worker.rss_bytes)} now`,
          points: (worker.rss_curve ?? []).map(([ago, n]) => /** @type {[number, number]} */ ([-ago, n])),
          top: hard,
        }),
      ),
      h(OpenConnections, {
        open: worker.open_connections ?? {},
        curve: worker.open_curve,
        what: 'connections open now',
      }),
      h('div', { class: 'card' }, h('h2', null, 'At work'), h(Batches, { batches: worker.batches })),
    ),
    h(Facts, {
      label: 'The worker',
      rows: [
        ['Pool', worker.pool ? h('a', { href: to(['pools', worker.pool]) }, worker.pool) : '–'],
        ['Process', worker.pid === null ? 'none' : `pid ${worker.pid}, for ${span(worker.uptime_s)}`],
        ['Loop lag', span(worker.lag_s)],
        ['Free places for batches', count(worker.credits)],
        ['Events', count(worker.events)],
        ['Restarts', count(worker.restarts)],
        [
          'Last end',
          worker.last_exit
            ? [
                h(
                  'a',
                  {
                    href: worker.last_exit.exit
                      ? to(['exits', worker.last_exit.exit])
                      : to(['exits'], { worker: worker.id }),
                  },
                  worker.last_exit.reason,
                ),
                ' ',
                h(Time, { at: worker.last_exit.at, ago: true }),
              ]
            : 'none',
        ],
      ],
    }),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function WorkerPage({ params: { id } }) {
  const worker = useGet(path('workers', id), {}, 2)
  const state = /** @type {Api.WorkerAtWork | null} */ (worker.value)?.state
  return h(
    'div',
    null,
    h(Title, { title: id, up: [[to(['pools']), 'Isolation']] }, state && h(Chip, { state })),
    h(Loading, {
      of: worker,
      what: 'the worker',
      children: (/** @type {Api.WorkerAtWork} */ found) => h(Inside, { worker: found }),
    }),
    mayAct() && h(Evidence, { worker: id }),
    h('h2', null, 'Its ends'),
    h(Ends, { worker: id }),
  )
}

/** @param {{worker: string}} props */
function Ends({ worker }) {
  const exits = useGet('debug/exits', { worker, limit: 10 }, 10)
  return h(Loading, {
    of: exits,
    what: 'the exits',
    children: (/** @type {Api.Exits} */ found) =>
      found.exits.length === 0
        ? h(Empty, null, 'None of them has ended.')
        : h(Table, {
            label: 'Its ends',
            rows: found.exits,
            keyOf: (/** @type {Api.Certificate} */ each) => each.id,
            columns: /** @type {import('../ui/table.js').Column<Api.Certificate>[]} */ ([
              { head: 'When', cell: each => h(Time, { at: each.at }), link: each => to(['exits', each.id]) },
              { head: 'Of what', cell: each => each.reason },
              { head: 'Lived', isNumber: true, cell: each => span(each.uptime_s) },
            ]),
          }),
  })
}
