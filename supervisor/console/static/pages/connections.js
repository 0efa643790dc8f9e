// @ts-check
// All connections, the worst first: however many there are, one page of them is fetched at a time.
import { h } from '../vendor.js'
import { get } from '../api.js'
import { useLook } from '../live.js'
import { setQuery, to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { count, span } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Empty, Problem } from '../ui/load.js'
import { size } from '../ui/meter.js'
import { Title } from '../ui/page.js'
import { usePages } from '../ui/paging.js'
import { Search } from '../ui/search.js'
import { LongTable } from '../ui/table.js'

/** @type {import('../ui/table.js').Column<Api.QueueStatus>[]} */
const COLUMNS = [
  {
    head: 'Connection',
    sort: 'name',
    cell: queue => queue.connection,
    link: queue => to(['connections', queue.connection, 'delivery']),
  },
  { head: 'State', sort: 'worst', cell: queue => h(Chip, { state: queue.state }) },
  { head: 'Waiting', sort: '-depth', isNumber: true, cell: queue => count(queue.depth) },
  { head: 'In flight', sort: '-inflight', isNumber: true, cell: queue => count(queue.inflight) },
  { head: 'Oldest', sort: '-oldest', isNumber: true, cell: queue => span(queue.oldest_s) },
  { head: 'Source', cell: queue => queue.source },
  { head: 'Destination', cell: queue => queue.destination },
  { head: 'Pool', cell: queue => queue.pool },
  {
    head: 'Leaves behind',
    isNumber: true,
    cell: queue =>
      queue.leak_bytes_per_event ? h('span', { class: 'bad' }, `${size(queue.leak_bytes_per_event)} an event`) : '',
  },
  { head: 'Why', cell: queue => h(Text, { text: queue.state_reason }) },
]

const STATES = ['tripped', 'backing_off', 'throttled', 'paused', 'open', 'disabled']

/** @param {{where: string}} props */
function States({ where }) {
  const { value } = useLook('overview')
  if (!value) return null
  const { queues } = /** @type {Api.Overview} */ (value)
  const found = STATES.filter(state => queues.by_state[state])
  return h(
    'nav',
    { 'aria-label': 'By state', class: 'bar' },
    h(
      'a',
      { href: to(['connections']), 'aria-current': where === '' ? 'true' : undefined },
      `All ${count(queues.total)}`,
    ),
    found.map(state =>
      h(
        'a',
        {
          key: state,
          href: to(['connections'], { where: `state:${state}` }),
          'aria-current': where === `state:${state}` ? 'true' : undefined,
        },
        h(Chip, { state }),
        ` ${count(queues.by_state[state])}`,
      ),
    ),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Connections({ query }) {
  const where = query.where ?? '',
    sort = query.sort ?? 'worst'
  const pages = usePages(`${where}\n${sort}`, async (limit, after, stop) => {
    const got = /** @type {Api.Queues} */ (await get('queues', { where, sort, limit, after }, stop))
    return { ...got, rows: got.queues }
  })
  return h(
    'div',
    null,
    h(Title, { title: 'Connections' }),
    h(
      'div',
      { class: 'bar filters' },
      h(Search, {
        label: 'Show those with',
        value: where,
        onSearch: text => {
          setQuery({ where: text }, false)
        },
        hint: 'Part of a name, or state: pool: source: destination: leak:yes, such as “state:tripped pool:default”',
      }),
    ),
    h(States, { where }),
    h(Problem, {
      error: pages.error,
      again: () => {
        void pages.fill()
      },
    }),
    h(
      'p',
      { role: 'status', class: 'soft' },
      pages.isFirst ? 'Loading connections…' : `${count(pages.matched)} of ${count(pages.total)} connections`,
    ),
    !pages.isFirst && pages.matched === 0
      ? h(Empty, null, 'No connection is so.')
      : h(LongTable, {
          key: `${where}\n${sort}`,
          label: 'Connections',
          columns: COLUMNS,
          total: pages.matched,
          sort,
          rowAt: at => pages.rowAt(at),
          onRange: (first, last) => {
            pages.want(first, last)
          },
          onSort: name => {
            setQuery({ sort: name === 'worst' ? null : name })
          },
        }),
  )
}
