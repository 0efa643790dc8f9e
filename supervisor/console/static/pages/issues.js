// @ts-check
// What goes wrong, by cause: how often, since when, and when last.
import { h } from '../vendor.js'
import { setQuery, to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName } from '../ui/colour.js'
import { count } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Choice, Search } from '../ui/search.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'

/** @type {[string, string][]} */
export const KINDS = [
  ['failed', 'Failed for good'],
  ['retry', 'To be tried again'],
  ['quarantined', 'Quarantined'],
  ['rejected', 'Rejected at the door'],
  ['credentials', 'Credentials refused'],
]

/** Dead letters that an issue counts, or null where it counts none. @param {Api.Issue} issue */
export function lettersOf(issue) {
  if (issue.kind !== 'failed' && issue.kind !== 'quarantined') return null
  return to(['deadletters'], { connection: issue.connection, outcome: issue.kind, cause: issue.cause })
}

/** @type {import('../ui/table.js').Column<Api.Issue>[]} */
const COLUMNS = [
  {
    head: 'Cause',
    class: 'text',
    cell: issue => h(Text, { text: issue.cause }),
    link: issue => to(['issues', issue.id]),
  },
  { head: 'Kind', class: 'fit', cell: issue => h(Chip, { state: issue.kind }) },
  {
    head: 'Of',
    cell: issue =>
      issue.connection
        ? h(ConnectionName, { name: issue.connection })
        : issue.source && h('a', { href: to(['sources', issue.source, 'overview']) }, issue.source),
  },
  {
    head: 'Times',
    isNumber: true,
    cell: issue => h('a', { href: lettersOf(issue) ?? to(['issues', issue.id]) }, count(issue.count)),
  },
  { head: 'Last seen', class: 'fit', cell: issue => h(Time, { at: issue.last_seen, ago: true }) },
  { head: 'First seen', class: 'fit', cell: issue => h(Time, { at: issue.first_seen }) },
  { head: 'Open', class: 'fit', cell: issue => (issue.open ? 'open' : 'closed') },
]

/** @param {{where: import('../api.js').Query}} props filters of the API */
export function IssueList({ where }) {
  const found = useGet('issues', { limit: 100, ...where }, where.after ? 0 : 10)
  return h(Loading, {
    of: found,
    what: 'issues',
    children: (/** @type {Api.Issues} */ { issues, next, forgotten }) =>
      h(
        'div',
        null,
        issues.length === 0
          ? h(Empty, null, 'No issue is so.')
          : h(Table, {
              label: 'Issues',
              columns: COLUMNS,
              rows: issues,
              keyOf: (/** @type {Api.Issue} */ issue) => issue.id,
            }),
        forgotten > 0 &&
          h(
            'p',
            { class: 'soft' },
            `${count(forgotten)} more were forgotten, those first that were seen least lately.`,
          ),
        next && h('div', { class: 'bar' }, h('a', { href: to(['issues'], { ...where, after: next }) }, 'Further ones')),
      ),
  })
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Issues({ query }) {
  const { connection, source, kind, open = 'yes', after } = query
  return h(
    'div',
    null,
    h(Title, { title: 'Issues' }),
    h('p', { class: 'soft' }, 'One cause is one issue. It closes by itself an hour after it was last seen.'),
    h(
      'div',
      { class: 'bar filters' },
      h(Choice, {
        label: 'Kind',
        value: kind ?? '',
        choices: [['', 'Any'], ...KINDS],
        onChoose: chosen => {
          setQuery({ kind: chosen, after: null })
        },
      }),
      h(Choice, {
        label: 'Which',
        value: open,
        choices: [
          ['yes', 'Open'],
          ['no', 'Closed'],
          ['all', 'Both'],
        ],
        onChoose: chosen => {
          setQuery({ open: chosen === 'yes' ? null : chosen, after: null })
        },
      }),
      h(Search, {
        label: 'Connection, its whole name',
        value: connection ?? '',
        onSearch: text => {
          setQuery({ connection: text.trim(), after: null }, false)
        },
      }),
      source && h('a', { href: to(['issues'], { ...query, source: null }) }, `Not only of source ${source}`),
    ),
    h(IssueList, { where: { connection, source, kind, open: open === 'all' ? null : open, after } }),
  )
}
