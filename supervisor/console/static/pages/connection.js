// @ts-check
// One connection: its head and its tabs.
import { h } from '../vendor.js'
import { mayAct, path } from '../api.js'
import { to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { Dot } from '../ui/colour.js'
import { Text } from '../ui/json.js'
import { Loading, useGet } from '../ui/load.js'
import { Tabs, Title } from '../ui/page.js'
import Delivery from './connection/delivery.js'
import Queue from './connection/queue.js'
import Settings from './connection/settings.js'
import Tester from './connection/tester.js'
import { Letters } from './deadletters.js'

/** @typedef {{of: Api.Connection, query: Record<string, string>, again: () => void}} TabProps */

/** @type {Record<string, [string, (props: TabProps) => any]>} any: whatever preact draws */
const TABS = {
  delivery: ['Delivery', Delivery],
  queue: ['Queue', Queue],
  letters: ['Dead letters', ({ of, query }) => h(Letters, { fixed: { connection: of.queue.connection }, query })],
  tester: ['Tester', Tester],
  settings: ['Settings', Settings],
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Connection({ params, query }) {
  const { name, tab = 'delivery' } = params
  const found = useGet(path('connections', name), {}, 5)
  const now = /** @type {Api.Connection | null} */ (found.value)
  // Trying sends something or may: a viewer does not.
  const tabs = Object.entries(TABS).filter(([each]) => each !== 'tester' || mayAct())
  const Body = tabs.find(([each]) => each === tab)?.[1][1]
  return h(
    'div',
    null,
    h(
      Title,
      { title: name, up: [[to(['connections']), 'Connections']] },
      h(Dot, { name }),
      now && h(Chip, { state: now.queue.state }),
    ),
    now &&
      h(
        'p',
        { class: 'soft' },
        'From ',
        h('a', { href: to(['sources', now.queue.source, 'overview']) }, now.queue.source),
        ' to ',
        h('b', null, now.queue.destination),
        ', in pool ',
        h('a', { href: to(['pools', now.queue.pool]) }, now.queue.pool),
        '; ',
        h(Text, { text: now.destination.description }),
      ),
    h(Tabs, {
      label: 'Parts of this connection',
      chosen: tab,
      link: each => to(['connections', name, each]),
      tabs: tabs.map(([each, [words]]) => /** @type {[string, string]} */ ([each, words])),
    }),
    h(Loading, {
      of: found,
      what: 'the connection',
      children: (/** @type {Api.Connection} */ of) =>
        Body ? h(Body, { key: tab, of, query, again: found.again }) : h('p', null, 'There is no such part.'),
    }),
  )
}
