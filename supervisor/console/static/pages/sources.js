// @ts-check
// All sources, each with what it receives: what rejects most and sends most first.
import { h } from '../vendor.js'
import { get } from '../api.js'
import { setQuery } from '../routes.js'
import { count } from '../ui/format.js'
import { Empty, Problem } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { usePages } from '../ui/paging.js'
import { Search } from '../ui/search.js'
import { LongTable } from '../ui/table.js'
import { SOURCE_COLUMNS } from './overview.js'

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function AllSources({ query }) {
  const where = query.where ?? '',
    sort = query.sort ?? 'busiest'
  const pages = usePages(`${where}\n${sort}`, async (limit, after, stop) => {
    const got = /** @type {Api.Sources} */ (await get('sources', { where, sort, limit, after }, stop))
    return { ...got, rows: got.sources }
  })
  return h(
    'div',
    null,
    h(Title, { title: 'Sources' }),
    h(Search, {
      label: 'Show those with',
      value: where,
      onSearch: text => {
        setQuery({ where: text }, false)
      },
      hint: 'Part of a name',
    }),
    h(Problem, {
      error: pages.error,
      again: () => {
        void pages.fill()
      },
    }),
    h(
      'p',
      { role: 'status', class: 'soft' },
      pages.isFirst ? 'Loading the sources…' : `${count(pages.matched)} of ${count(pages.total)} sources`,
    ),
    !pages.isFirst && pages.matched === 0
      ? h(Empty, null, pages.total === 0 ? 'No source is configured.' : 'No source is called so.')
      : h(LongTable, {
          key: `${where}\n${sort}`,
          label: 'Sources',
          columns: SOURCE_COLUMNS,
          total: pages.matched,
          sort,
          rowAt: at => pages.rowAt(at),
          onRange: (first, last) => {
            pages.want(first, last)
          },
          onSort: name => {
            setQuery({ sort: name === 'busiest' ? null : name })
          },
        }),
  )
}
