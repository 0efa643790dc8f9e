// @ts-check
// What the events of a source look like, as far as a sample of them tells: names, paths, shapes.
import { h } from '../vendor.js'
import { path } from '../api.js'
import { count, plural, share } from '../ui/format.js'
import { Text, visible } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { SearchBar } from '../ui/search.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'

/** How many names are drawn before somebody searches. */
const DRAWN = 50

/** @type {import('../ui/table.js').Column<Api.SchemaPath>[]} */
const COLUMNS = [
  { head: 'Path', class: 'text', cell: each => h('bdi', { class: 'mono' }, visible(each.path)) },
  { head: 'Present', isNumber: true, cell: each => share(each.present) },
  {
    head: 'Types',
    cell: each =>
      Object.entries(each.types)
        .map(([type, part]) => (part >= 1 ? type : `${type} ${share(part)}`))
        .join(', '),
  },
  { head: 'Distinct', isNumber: true, cell: each => (each.distinct >= 50 ? '50 or more' : count(each.distinct)) },
  {
    head: 'Looks like',
    cell: each =>
      each.examples.map((example, at) => [at > 0 && ', ', h('bdi', { key: at, class: 'mono' }, visible(example))]),
  },
  { head: 'Last seen', class: 'fit', cell: each => h(Time, { at: each.last_seen, ago: true }) },
]

/** @param {{one: Api.SchemaName, isOpen: boolean}} props */
function Named({ one, isOpen }) {
  const name = `${one.type} ${one.name}`
  return h(
    'details',
    { class: 'card', open: isOpen },
    h(
      'summary',
      null,
      h('b', { class: 'mono' }, one.type.toUpperCase()),
      ' ',
      h(Text, { text: one.name }),
      h(
        'span',
        { class: 'soft' },
        ` seen ${plural(one.seen, 'time')}, last `,
        h(Time, { at: one.last_seen, ago: true }),
      ),
    ),
    h(Table, {
      label: `Paths of ${name}`,
      columns: COLUMNS,
      rows: one.paths,
      keyOf: (/** @type {Api.SchemaPath} */ each) => each.path,
    }),
    one.more_paths > 0 && h('p', { class: 'soft' }, `${plural(one.more_paths, 'more path')} not told apart.`),
  )
}

/** @param {{name: string, query: Record<string, string>}} props */
export default function Schema({ name, query }) {
  const schema = useGet(path('schema', name))
  const sought = (query.q ?? '').toLowerCase()
  return h(
    'div',
    null,
    h(SearchBar, { label: 'Search names and paths', q: query.q }),
    h(Loading, {
      of: schema,
      what: 'the schema',
      children: (/** @type {Api.Schema} */ found) => {
        const names = found.names.filter(
          one =>
            !sought ||
            `${one.type} ${one.name}`.toLowerCase().includes(sought) ||
            one.paths.some(each => each.path.toLowerCase().includes(sought)),
        )
        return h(
          'div',
          null,
          h(
            'p',
            { class: 'soft' },
            `Inferred from a sample of ${plural(found.looked_at, 'event')}. Values are shown by their shape.`,
          ),
          names.length === 0 &&
            h(Empty, null, sought ? 'No name and no path has that in it.' : 'No event was looked at yet.'),
          h(
            'div',
            { class: 'rows' },
            names.slice(0, DRAWN).map((one, at) => h(Named, { key: `${one.type} ${one.name}`, one, isOpen: at === 0 })),
          ),
          names.length > DRAWN &&
            h('p', { class: 'soft' }, `${plural(names.length - DRAWN, 'more name')}: search for them.`),
          found.more_names > 0 &&
            h('p', { class: 'soft' }, `${plural(found.more_names, 'more name')} not told apart: too many.`),
        )
      },
    }),
  )
}
