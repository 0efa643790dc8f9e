// @ts-check
// A connection as it is configured. Secrets are never sent to a browser.
import { h } from '../../vendor.js'
import { Json, Text } from '../../ui/json.js'
import { Empty } from '../../ui/load.js'
import { Facts } from '../../ui/page.js'

/** @param {unknown} value */
const shown = value =>
  value !== null && typeof value === 'object'
    ? h(Json, { text: JSON.stringify(value) })
    : h('code', null, h(Text, { text: String(value) }))

/** @param {{of: Record<string, unknown>, label: string}} props */
function Section({ of, label }) {
  const rows = Object.entries(of).map(([name, value]) => /** @type {[string, any]} */ ([name, shown(value)]))
  return rows.length === 0 ? h(Empty, null, 'Nothing is set.') : h(Facts, { label, rows })
}

/** @type {(props: import('../connection.js').TabProps) => any} any: whatever preact draws */
export default function Settings({ of }) {
  return h(
    'div',
    null,
    h(
      'p',
      { class: 'soft' },
      'As the running config has it. It is changed in the config’s file, and taken on by a reload: see ',
      h('a', { href: '#/plan' }, 'Plan'),
      '.',
    ),
    h('h2', null, 'Destination'),
    h(Facts, {
      label: 'Destination',
      rows: [
        ['Name', of.destination.name],
        ['Class', h('code', null, of.destination.class)],
        ['What it is', of.destination.description],
      ],
    }),
    h('h2', null, 'Settings'),
    h(Section, { of: of.settings, label: 'Settings' }),
    h('h2', null, 'Config'),
    h(Section, { of: of.config, label: 'Config' }),
  )
}
