// @ts-check
// One source: what it receives, its events live, what they look like, and how it is configured.
import { h } from '../vendor.js'
import { path } from '../api.js'
import { to } from '../routes.js'
import { Chart } from '../ui/chart.js'
import { ConnectionName } from '../ui/colour.js'
import { count, rate, span } from '../ui/format.js'
import { Raw } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Facts, Figure, Figures, Tabs, Title } from '../ui/page.js'
import Debugger from './debugger.js'
import Schema from './schema.js'

/** @type {[string, string][]} */
const TABS = [
  ['overview', 'Overview'],
  ['debugger', 'Debugger'],
  ['schema', 'Schema'],
  ['settings', 'Settings'],
]

/** @type {[string, string, string][]} */
const BARS = [
  ['received', 'Received', 'good'],
  ['duplicates', 'Duplicates', 'edge'],
  ['rejected', 'Rejected', 'bad'],
]

/** @param {{source: Api.Source}} props */
function Overview({ source }) {
  const trends = useGet('trends', { source: source.name }, 60)
  const link = (/** @type {string} */ outcome) => to(['sources', source.name, 'debugger'], { outcome })
  return h(
    'div',
    null,
    h(
      Figures,
      { label: 'Events a second' },
      h(Figure, { label: 'Received', value: rate(source.received_per_s), link: link('taken') }),
      h(Figure, {
        label: 'Rejected',
        value: rate(source.rejected_per_s),
        tone: source.rejected_per_s ? 'bad' : '',
        link: link('rejected'),
      }),
      h(Figure, {
        label: 'Connections',
        value: count(source.connections.length),
        link: to(['connections'], { where: `source:${source.name}` }),
      }),
    ),
    h('h2', null, 'Over time'),
    h(Loading, {
      of: trends,
      what: 'the trend',
      children: (/** @type {Api.Trends} */ found) => {
        const bars = BARS.filter(([key]) => found.columns[key]).map(([key, label, tone]) => ({
          label,
          tone,
          values: found.columns[key],
        }))
        return found.times.length === 0 || bars.length === 0
          ? h(Empty, null, 'Nothing was counted in this time.')
          : h(Chart, {
              label: `Events in ${span(found.step_s)}`,
              times: found.times,
              bars,
              restart: found.restart,
              step_s: found.step_s,
              barText: (/** @type {number | null} */ n) => count(n === null ? null : Math.round(n)),
            })
      },
    }),
    h('h2', null, 'Feeds'),
    source.connections.length === 0
      ? h(Empty, null, 'No connection has this source: its events are counted, and go nowhere.')
      : h(
          'ul',
          { class: 'named-list' },
          source.connections.map(name => h('li', { key: name }, h(ConnectionName, { name }))),
        ),
  )
}

/** @param {{source: Api.Source}} props */
function Settings({ source }) {
  const rows = Object.entries(source.config).map(
    ([key, value]) =>
      /** @type {[string, any]} */ ([
        key,
        h('bdi', { class: 'mono' }, typeof value === 'string' ? value : JSON.stringify(value)),
      ]),
  )
  return h(
    'div',
    null,
    rows.length ? h(Facts, { label: 'As configured', rows }) : h(Empty, null, 'Nothing but its write key is set.'),
    h(
      'p',
      { class: 'soft' },
      'Write keys are never shown. With one in WRITE_KEY, and the address of the tracking API in TRACKING_URL, an event is sent by',
    ),
    h(Raw, {
      label: 'a command that sends an event',
      text: `curl -u "$WRITE_KEY:" "$TRACKING_URL/v1/track" \\\n  -d '{"userId": "ann", "event": "Hello"}'`,
    }),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function SourcePage({ params, query }) {
  const { name, tab = 'overview' } = params
  const source = useGet(path('sources', name), {}, tab === 'overview' ? 5 : 0)
  return h(
    'div',
    null,
    h(Title, { title: name, up: [[to(['sources']), 'Sources']] }),
    h(Tabs, {
      label: 'Parts of the source',
      tabs: TABS,
      chosen: tab,
      link: (/** @type {string} */ each) => to(['sources', name, each]),
    }),
    h(Loading, {
      of: source,
      what: 'the source',
      children: (/** @type {Api.Source} */ found) =>
        tab === 'debugger'
          ? h(Debugger, { key: name, source: found, query })
          : tab === 'schema'
            ? h(Schema, { key: name, name, query })
            : tab === 'settings'
              ? h(Settings, { source: found })
              : h(Overview, { source: found }),
    }),
  )
}
