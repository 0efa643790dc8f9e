// @ts-check
// What was done by hand, and by whom, newest first.
import { h } from '../vendor.js'
import { to } from '../routes.js'
import { count } from '../ui/format.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'

/** @type {import('../ui/table.js').Column<Api.Act>[]} */
const COLUMNS = [
  { head: 'When', class: 'fit', cell: act => h(Time, { at: act.at }) },
  {
    head: 'Who',
    cell: act => [h('bdi', null, act.by), !act.by.startsWith(act.role) && h('span', { class: 'soft' }, ` ${act.role}`)],
  },
  { head: 'Did', cell: act => act.action },
  { head: 'To', cell: act => h('bdi', null, act.on) },
  { head: 'How many', isNumber: true, cell: act => count(act.how_many) },
  { head: 'Note', class: 'text', cell: act => h('bdi', null, act.note ?? '') },
]

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Activity({ query }) {
  const found = useGet('activity', { limit: 100, after: query.after }, query.after ? 0 : 10)
  return h(
    'div',
    null,
    h(Title, { title: 'Activity' }),
    h(
      'p',
      { class: 'soft' },
      'Everything that somebody did by hand, here, by the command line or by the API. The last 500 are kept.',
    ),
    h(Loading, {
      of: found,
      what: 'the activity',
      children: (/** @type {Api.Activity} */ { activity, next }) =>
        h(
          'div',
          null,
          activity.length === 0
            ? h(Empty, null, 'Nothing was done by hand.')
            : h(Table, {
                label: 'What was done',
                columns: COLUMNS,
                rows: activity,
                keyOf: (/** @type {Api.Act} */ act) => `${act.at} ${act.action} ${act.on}`,
              }),
          h(
            'div',
            { class: 'bar' },
            query.after && h('a', { href: to(['activity']) }, 'Newest'),
            next && h('a', { href: to(['activity'], { after: next }) }, 'Older'),
          ),
        ),
    }),
  )
}
