// @ts-check
// What needs somebody, what went through, and how pools and sources are.
import { h } from '../vendor.js'
import { del, mayAct, post } from '../api.js'
import { useLook } from '../live.js'
import { to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { AskButton } from '../ui/dialog.js'
import { count, plural, rate, share, span } from '../ui/format.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { size } from '../ui/meter.js'
import { Facts, Figure, Figures, Title } from '../ui/page.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'
import { DeliveryTrend } from '../ui/trend.js'

/** @param {{action: Api.Action, of: string}} props */
function ActionButton({ action, of }) {
  const at = action.path.replace(/^\//, '')
  const run = () => (action.method === 'DELETE' ? del(at) : post(at, action.body))
  return h(AskButton, {
    label: action.label,
    title: `${action.label}: ${of}?`,
    run,
    children: h('p', null, `It is done at once to ${of}, and stands in Activity.`),
  })
}

/** @param {{items: Api.Attention[], more: number}} props `more` are not among them */
function NeedsYou({ items, more }) {
  return h(
    'section',
    { 'aria-labelledby': 'needs' },
    h('h2', { id: 'needs' }, 'What needs you'),
    items.length === 0
      ? h(Empty, null, 'Nothing needs you.')
      : h(
          'ul',
          { class: 'rows' },
          items.map(item =>
            h(
              'li',
              { key: `${item.kind} ${item.subject.type} ${item.subject.name}`, class: 'card needs' },
              h(Chip, { state: item.severity }),
              h(
                'div',
                null,
                h('a', { href: item.link }, h('b', null, h('bdi', null, item.subject.name))),
                ' ',
                h('bdi', null, item.text),
                item.since && h('span', { class: 'soft' }, ' Since ', h(Time, { at: item.since, ago: true }), '.'),
              ),
              item.action && mayAct() && h(ActionButton, { action: item.action, of: item.subject.name }),
            ),
          ),
        ),
    more > 0 &&
      h(
        'p',
        null,
        `${plural(more, 'more thing needs', 'more things need')} you than stand here: the worst are above, all `,
        h('a', { href: to(['connections']) }, 'connections'),
        ' have their state.',
      ),
  )
}

/** @type {[keyof Api.Overview['hour'] & keyof Api.Books, string, string, string][]} */
const NUMBERS = [
  ['delivered_first_try', 'Delivered on first try', 'good', to(['connections'], { sort: 'name' })],
  ['delivered_on_retry', 'Delivered on retry', 'good', to(['issues'], { kind: 'retry' })],
  ['failed', 'Failed', 'bad', to(['deadletters'], { outcome: 'failed' })],
  ['quarantined', 'Quarantined', 'bad', to(['deadletters'], { outcome: 'quarantined' })],
  ['unsupported', 'Unsupported', '', to(['sources'])],
  ['filtered', 'Filtered', '', to(['sources'])],
]

/** @param {{now: Api.Overview}} props */
function Numbers({ now: { hour, books, queues } }) {
  return h(
    'section',
    { 'aria-labelledby': 'numbers' },
    h('h2', { id: 'numbers' }, 'The last hour'),
    h(
      Figures,
      { label: 'Deliveries of the last hour' },
      NUMBERS.map(([key, label, tone, link]) =>
        h(Figure, {
          key,
          label,
          link,
          value: count(hour[key]),
          tone: hour[key] ? tone : '',
          note: `${count(books[key])} since ever`,
        }),
      ),
    ),
    h(
      'p',
      { class: 'soft' },
      'Received ',
      h('a', { href: to(['sources']) }, plural(hour.received, 'event')),
      ', rejected ',
      h('a', { href: to(['issues'], { kind: 'rejected' }) }, count(hour.rejected)),
      '. Waiting now: ',
      h('a', { href: to(['connections'], { sort: '-depth' }) }, plural(queues.depth, 'delivery', 'deliveries')),
      queues.oldest_s !== null && [
        '; the oldest for ',
        h('a', { href: to(['connections'], { sort: '-oldest' }) }, span(queues.oldest_s)),
      ],
      '.',
    ),
  )
}

/** @param {{pools: Api.PoolGlance[]}} props */
function Pools({ pools }) {
  return h(
    'section',
    { 'aria-labelledby': 'pools' },
    h('h2', { id: 'pools' }, 'Pools'),
    h(
      'ul',
      { class: 'rows cards wide' },
      pools.map(pool =>
        h(
          'li',
          { key: pool.name, class: 'card' },
          h(
            'div',
            { class: 'bar' },
            h('a', { href: to(['pools', pool.name]) }, h('b', null, pool.name)),
            h(Chip, { state: pool.state }),
          ),
          pool.state_reason && h('div', { class: 'warn' }, h('bdi', null, pool.state_reason)),
          h(
            'div',
            { class: 'soft' },
            `${pool.serving} of ${plural(pool.wanted, 'worker')} serve; ${plural(pool.spares, 'spare')}, ${pool.apart} apart; ${size(pool.rss_bytes)}; `,
            h('a', { href: to(['exits'], { pool: pool.name }) }, plural(pool.exits_hour, 'exit')),
            ' in the last hour',
          ),
        ),
      ),
    ),
  )
}

/** What is told of a source, wherever some are listed. @type {import('../ui/table.js').Column<Api.SourceGlance>[]} */
export const SOURCE_COLUMNS = [
  { head: 'Source', sort: 'name', cell: one => one.name, link: one => to(['sources', one.name, 'overview']) },
  {
    head: 'Received',
    sort: 'busiest',
    isNumber: true,
    cell: one => h('a', { href: to(['sources', one.name, 'debugger']) }, rate(one.received_per_s)),
  },
  {
    head: 'Rejected',
    isNumber: true,
    cell: one =>
      h('a', { href: to(['sources', one.name, 'debugger'], { outcome: 'rejected' }) }, rate(one.rejected_per_s)),
  },
  { head: 'Share rejected', isNumber: true, cell: one => share(one.rejected_share) },
  {
    head: 'Connections',
    isNumber: true,
    cell: one => h('a', { href: to(['connections'], { where: `source:${one.name}` }) }, count(one.connections)),
  },
]

/** @param {{now: Api.Overview}} props */
function Sources({ now: { sources, more_sources } }) {
  if (sources.length === 0) return h(Empty, null, 'No source is configured.')
  return h(
    'div',
    null,
    h(Table, {
      label: 'Sources',
      rows: sources,
      keyOf: (/** @type {Api.SourceGlance} */ one) => one.name,
      columns: SOURCE_COLUMNS,
    }),
    more_sources > 0 && h('p', null, h('a', { href: to(['sources']) }, `${count(more_sources)} more`)),
  )
}

/** @param {{now: Api.Overview}} props */
function Service({ now: { store, sandbox, version, uptime_s, plan_differs } }) {
  return h(
    'section',
    { 'aria-labelledby': 'service' },
    h('h2', { id: 'service' }, 'The service'),
    h(Facts, {
      label: 'The service',
      rows: [
        ['Version', version],
        ['Runs for', span(uptime_s)],
        ['Intake', store.intake],
        ['Queue on disk', `${size(store.live_bytes)} of ${size(store.max_bytes)}`],
        ['Dead letters', h('a', { href: to(['deadletters']) }, size(store.dead_letter_bytes))],
        ['Config on disk', h('a', { href: to(['plan']) }, plan_differs ? 'differs from what runs' : 'is what runs')],
        ...Object.entries(sandbox).map(([layer, state]) => /** @type {[string, any]} */ ([`Sandbox: ${layer}`, state])),
      ],
    }),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Overview() {
  const look = useLook('overview')
  const trends = useGet('trends', {}, 60)
  return h(
    'div',
    null,
    h(Title, { title: 'Overview' }, look.value && h(Chip, { state: look.value.state })),
    h(Loading, {
      of: look,
      what: 'the overview',
      children: (/** @type {Api.Overview} */ now) =>
        h(
          'div',
          null,
          h(NeedsYou, { items: now.attention, more: now.more_attention }),
          h(Numbers, { now }),
          h(
            'section',
            { 'aria-labelledby': 'trend' },
            h('h2', { id: 'trend' }, 'Delivery trends'),
            h(Loading, {
              of: trends,
              what: 'the trends',
              children: (/** @type {Api.Trends} */ found) =>
                h(DeliveryTrend, { trends: found, period: { from: found.to - 3600, to: found.to } }),
            }),
          ),
          h(Pools, { pools: now.pools }),
          h('section', { 'aria-labelledby': 'sources' }, h('h2', { id: 'sources' }, 'Sources'), h(Sources, { now })),
          h(Service, { now }),
        ),
    }),
  )
}
