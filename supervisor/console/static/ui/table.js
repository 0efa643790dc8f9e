// @ts-check
// Tables: plain ones, and one that draws only what is seen of ten thousand rows. The arrow keys go
// from row to row; Tab goes past the table in one step.
import { h, useEffect, useRef, useState } from '../vendor.js'

/** Height of a row of a long table in pixels; app.css says the same. */
const ROW_PX = 36
/** Rows that are drawn beyond what is seen, on each side. */
const BEYOND = 10

/**
 * @template T
 * @typedef {{head: string, cell: (row: T) => any, link?: (row: T) => string, sort?: string, isNumber?: boolean, class?: string}} Column
 *   `sort` is the name that the API sorts by; `link` makes the cell the row's link. any: whatever preact draws
 */

// any: h() infers no type of rows, so that components take those of any; callers name theirs.

/**
 * @param {{columns: Column<any>[], sort?: string, onSort?: (sort: string) => void}} props
 */
function Head({ columns, sort, onSort }) {
  return h(
    'thead',
    null,
    h(
      'tr',
      { 'aria-rowindex': 1 },
      columns.map(column =>
        h(
          'th',
          {
            key: column.head,
            scope: 'col',
            class: column.isNumber ? 'num' : column.class,
            'aria-sort':
              column.sort && column.sort === sort ? (sort.startsWith('-') ? 'descending' : 'ascending') : undefined,
          },
          column.sort && onSort
            ? h(
                'button',
                {
                  type: 'button',
                  class: 'sort',
                  onClick: () => {
                    onSort(column.sort ?? '')
                  },
                },
                column.head,
                h('span', { 'aria-hidden': 'true' }, column.sort === sort ? (sort.startsWith('-') ? ' ↓' : ' ↑') : ''),
              )
            : column.head,
        ),
      ),
    ),
  )
}

/**
 * @param {{columns: Column<any>[], row: any, isStop: boolean, at: number}} props `isStop`: Tab stops here
 */
function cells({ columns, row, isStop, at }) {
  return columns.map(column => {
    const inner = column.cell(row)
    const content = column.link
      ? h('a', { href: column.link(row), tabIndex: isStop ? 0 : -1, 'data-row': at }, inner)
      : inner
    const props = { key: column.head, class: column.isNumber ? 'num' : column.class }
    return column.link ? h('th', { ...props, scope: 'row' }, content) : h('td', props, content)
  })
}

/**
 * Arrow keys among rows.
 * @param {number} count
 * @param {(at: number) => void} show brings a row into sight
 */
function useRows(count, show) {
  const [at, move] = useState(0),
    wanted = useRef(-1),
    box = useRef(/** @type {HTMLDivElement | null} */ (null))
  useEffect(() => {
    if (wanted.current < 0) return
    const link = box.current?.querySelector(`a[data-row="${wanted.current}"]`)
    if (link instanceof HTMLElement) {
      link.focus({ preventScroll: true })
      wanted.current = -1
    }
  })
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    if (!(event.target instanceof HTMLElement) || event.target.dataset.row === undefined) return
    const from = Number(event.target.dataset.row)
    const target = {
      ArrowDown: from + 1,
      ArrowUp: from - 1,
      Home: 0,
      End: count - 1,
      PageDown: from + 10,
      PageUp: from - 10,
    }[event.key]
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey) return
    event.preventDefault()
    wanted.current = Math.min(count - 1, Math.max(0, target))
    move(wanted.current)
    show(wanted.current)
  }
  const onFocusIn = (/** @type {FocusEvent} */ event) => {
    if (event.target instanceof HTMLElement && event.target.dataset.row !== undefined)
      move(Number(event.target.dataset.row))
  }
  return { at: Math.min(at, Math.max(0, count - 1)), box, onKeyDown, onFocusIn }
}

/**
 * A table of rows that are all there.
 * @param {{label: string, columns: Column<any>[], rows: readonly any[], keyOf: (row: any) => string, sort?: string, onSort?: (sort: string) => void}} props
 */
export function Table({ label, columns, rows, keyOf, sort, onSort }) {
  const { at, box, onKeyDown, onFocusIn } = useRows(rows.length, row => {
    box.current?.querySelectorAll('tbody tr')[row]?.scrollIntoView({ block: 'nearest' })
  })
  const hasLinks = columns.some(column => column.link)
  return h(
    'div',
    {
      class: 'table-box',
      ref: box,
      onKeyDown,
      onFocusIn,
      ...(hasLinks ? {} : { tabIndex: 0, role: 'region', 'aria-label': label }),
    },
    h(
      'table',
      { 'aria-label': label },
      h(Head, { columns, sort, onSort }),
      h(
        'tbody',
        null,
        rows.map((row, index) =>
          h('tr', { key: keyOf(row) }, cells({ columns, row, isStop: index === at, at: index })),
        ),
      ),
    ),
  )
}

/**
 * A table of very many rows, of which those are drawn that are seen. Its rows have one height.
 * @param {{label: string, columns: Column<any>[], total: number, rowAt: (at: number) => any,
 *   onRange: (first: number, last: number) => void, sort?: string, onSort?: (sort: string) => void}} props
 *   `rowAt` is undefined for what is not fetched yet; `onRange` is told which rows are seen
 */
export function LongTable({ label, columns, total, rowAt, onRange, sort, onSort }) {
  const [top, scroll] = useState(0),
    [height, grow] = useState(720)
  const { at, box, onKeyDown, onFocusIn } = useRows(total, row => {
    const seen = box.current
    if (!seen) return
    const head = ROW_PX,
      above = row * ROW_PX,
      below = above + ROW_PX + head - seen.clientHeight
    if (seen.scrollTop > above) seen.scrollTop = above
    else if (seen.scrollTop < below) seen.scrollTop = below
  })
  const first = Math.max(0, Math.floor(top / ROW_PX) - BEYOND)
  const last = Math.min(total, Math.ceil((top + height) / ROW_PX) + BEYOND)
  useEffect(() => {
    onRange(first, last)
  }, [first, last])
  useEffect(() => {
    const seen = box.current
    if (!seen) return undefined
    const sized = new ResizeObserver(() => {
      grow(seen.clientHeight)
    })
    sized.observe(seen)
    return () => {
      sized.disconnect()
    }
  }, [])
  const stop = Math.min(Math.max(at, first), Math.max(first, last - 1))
  const drawn = []
  for (let index = first; index < last; index += 1) {
    const row = rowAt(index)
    // By place: a row that moves up when the worst comes first does not take the focus along.
    drawn.push(
      h(
        'tr',
        { key: `row ${index}`, 'aria-rowindex': index + 2 },
        row
          ? cells({ columns, row, isStop: index === stop, at: index })
          : h('td', { colSpan: columns.length, class: 'soft' }, '…'),
      ),
    )
  }
  return h(
    'div',
    {
      class: 'table-box long',
      ref: box,
      onKeyDown,
      onFocusIn,
      onScroll: event => {
        scroll(event.currentTarget.scrollTop)
      },
    },
    h(
      'table',
      { 'aria-label': label, 'aria-rowcount': total + 1 },
      h(Head, { columns, sort, onSort }),
      h(
        'tbody',
        null,
        first > 0 &&
          h(
            'tr',
            { key: 'above', class: 'gap', 'aria-hidden': 'true' },
            h('td', { colSpan: columns.length, style: { height: `${first * ROW_PX}px` } }),
          ),
        drawn,
        last < total &&
          h(
            'tr',
            { key: 'below', class: 'gap', 'aria-hidden': 'true' },
            h('td', { colSpan: columns.length, style: { height: `${(total - last) * ROW_PX}px` } }),
          ),
      ),
    ),
  )
}
