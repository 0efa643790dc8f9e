// @ts-check
// What fills one heap: suspects with the path that holds them, what keeps what alive, objects by
// class, and what grew since an older one.
import { h, useEffect, useRef, useState } from '../vendor.js'
import { mayAct, path } from '../api.js'
import { setQuery, to } from '../routes.js'
import { ConnectionName } from '../ui/colour.js'
import { count, plural, share } from '../ui/format.js'
import { drawIcicle } from '../ui/icicle.js'
import { Text, visible } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Meter, size } from '../ui/meter.js'
import { Facts, Title } from '../ui/page.js'
import { Choice, SearchBar } from '../ui/search.js'
import { Table } from '../ui/table.js'
import { Time, clock, moment } from '../ui/time.js'
import { reasonOf } from './heaps.js'

/** @param {string} name @param {number | string} id */
export const objectLink = (name, id) => to(['heaps', name, 'objects', id])

/** @param {{name: string, suspects: Api.Suspect[]}} props */
function Suspects({ name, suspects }) {
  if (suspects.length === 0) return h(Empty, null, 'None: nothing holds a tenth of the heap by itself.')
  return h(
    'ul',
    { class: 'rows' },
    suspects.map((each, at) =>
      h(
        'li',
        { key: at, class: 'card suspect' },
        h(
          'div',
          { class: 'bar' },
          h('a', { class: 'mono', href: objectLink(name, each.id) }, h(Text, { text: each.path })),
          h('b', { class: 'bad' }, `${size(each.bytes)}, ${share(each.share)} of the heap`),
        ),
        h(Meter, { label: `Share of suspect ${at + 1}`, value: each.share, hard: 1, text: share(each.share) }),
        h(Facts, {
          label: `Suspect ${at + 1}`,
          rows: [
            [
              'Owner',
              [
                h(Text, { text: each.module ?? 'not told' }),
                each.connection && [', ', h(ConnectionName, { name: each.connection })],
              ],
            ],
            ['Dominated by', [each.objects > 1 && `${count(each.objects)} objects of `, h(Text, { text: each.what })]],
            ['Accumulates in', h(Text, { text: each.accumulation })],
            [
              'Holds',
              h(Text, {
                text: each.holds
                  .slice(0, 6)
                  .map(row => `${count(row.objects)} ${row.kind} (${size(row.bytes)})`)
                  .join(', '),
              }),
            ],
          ],
        }),
      ),
    ),
  )
}

/** @param {{name: string, picture: Api.Cell}} props */
function Icicle({ name, picture }) {
  const crumbs = useRef(/** @type {HTMLDivElement | null} */ (null)),
    drawn = useRef(/** @type {HTMLDivElement | null} */ (null)),
    detail = useRef(/** @type {HTMLDivElement | null} */ (null))
  useEffect(() => {
    if (!crumbs.current || !drawn.current || !detail.current) return undefined
    const room = drawn.current
    const draw = drawIcicle(
      {
        picture: room,
        crumbs: crumbs.current,
        detail: detail.current,
        link: cell => {
          if (cell.id === null) return null
          const link = document.createElement('a')
          link.href = objectLink(name, cell.id)
          link.textContent = 'Open the object'
          return link
        },
      },
      picture,
      'of the heap',
    )
    let width = room.clientWidth
    const sized = new ResizeObserver(() => {
      if (room.clientWidth !== width) {
        width = room.clientWidth
        draw()
      }
    })
    sized.observe(room)
    return () => {
      sized.disconnect()
    }
  }, [picture])
  return h(
    'div',
    { class: 'icicle' },
    h('div', { class: 'crumbs', ref: crumbs }),
    h('div', { class: 'picture', ref: drawn, role: 'group', 'aria-label': 'What keeps what alive' }),
    h('div', { class: 'detail', ref: detail, 'aria-live': 'polite' }),
  )
}

/** @param {{classes: Api.ClassRow[]}} props */
function Classes({ classes }) {
  const [shown, more] = useState(30),
    largest = Math.max(1, ...classes.map(row => row.bytes))
  return h(
    'div',
    null,
    h(Table, {
      label: 'Objects by class',
      rows: classes.slice(0, shown),
      keyOf: (/** @type {Api.ClassRow} */ row) => row.kind,
      columns: /** @type {import('../ui/table.js').Column<Api.ClassRow>[]} */ ([
        { head: 'Class', class: 'mono', cell: row => h(Text, { text: row.kind }) },
        { head: 'Objects', isNumber: true, cell: row => count(row.objects) },
        { head: 'Own size', isNumber: true, cell: row => size(row.bytes) },
        {
          head: 'Share',
          cell: row =>
            h('div', {
              class: 'share-bar',
              'aria-hidden': 'true',
              style: { width: `${(100 * Math.max(0, row.bytes)) / largest}%` },
            }),
        },
      ]),
    }),
    classes.length > shown &&
      h(
        'button',
        {
          type: 'button',
          onClick: () => {
            more(shown + 200)
          },
        },
        `${plural(classes.length - shown, 'more class', 'more classes')}`,
      ),
  )
}

/** @param {{name: string, query: Record<string, string>}} props */
function Find({ name, query }) {
  const found = useGet(query.q ? path('debug', 'snapshots', name, 'find') : null, { q: query.q, limit: 50 })
  return h(
    'div',
    null,
    h(SearchBar, { label: 'Find objects by class or name, or @ and an id', q: query.q }),
    query.q &&
      h(Loading, {
        of: found,
        what: 'what was found',
        children: (/** @type {Api.HeapFound} */ { found: all, more }) =>
          all.length === 0
            ? h(Empty, null, 'Nothing has that in its name.')
            : h(
                'div',
                null,
                h(Objects, { name, label: 'Found', objects: all }),
                more > 0 && h('p', { class: 'soft' }, `${count(more)} more, each smaller.`),
              ),
      }),
  )
}

/** @param {{name: string, label: string, objects: Api.HeapObject[]}} props */
export function Objects({ name, label, objects }) {
  return h(Table, {
    label,
    rows: objects,
    keyOf: (/** @type {Api.HeapObject} */ each) => String(each.id),
    columns: /** @type {import('../ui/table.js').Column<Api.HeapObject>[]} */ ([
      {
        head: 'Object',
        class: 'mono',
        cell: each => [visible(each.name || each.type), ` @${each.id}`],
        link: each => objectLink(name, each.id),
      },
      { head: 'Class', class: 'mono', cell: each => h(Text, { text: each.type }) },
      { head: 'Own size', isNumber: true, cell: each => size(each.size_bytes) },
      { head: 'Keeps alive', isNumber: true, cell: each => size(each.kept_bytes) },
    ]),
  })
}

/** @param {number} n @param {(n: number) => string} text */
const signed = (n, text) => (n > 0 ? `+${text(n)}` : text(n))

/** What grew since an older one of that worker, which is chosen for whoever looks. @param {{about: Api.Snapshot, all: Api.Snapshot[], query: Record<string, string>}} props */
function Difference({ about, all, query }) {
  const older = all.filter(
    each =>
      each.format === 'heapsnapshot' &&
      each.name !== about.name &&
      each.pool === about.pool &&
      moment(each.at) < moment(about.at),
  )
  const old = query.old ?? older.find(each => each.reason === 'baseline')?.name ?? older[0]?.name
  const [isAsked, ask] = useState(query.old !== undefined)
  const found = useGet(isAsked && old ? 'debug/snapshots/diff' : null, { old, new: about.name })
  if (older.length === 0) return h(Empty, null, 'There is no older snapshot of this pool to compare with.')
  return h(
    'div',
    null,
    h(
      'div',
      { class: 'bar filters' },
      h(Choice, {
        label: 'Compare with',
        value: old ?? '',
        choices: older.map(
          each =>
            /** @type {[string, string]} */ ([
              each.name,
              `${each.worker}, ${clock(moment(each.at))}, ${reasonOf(each.reason)}`,
            ]),
        ),
        onChoose: (/** @type {string} */ value) => {
          ask(true)
          setQuery({ old: value }, false)
        },
      }),
      h(
        'button',
        {
          type: 'button',
          onClick: () => {
            ask(true)
            setQuery({ old }, false)
          },
        },
        'Show what grew',
      ),
    ),
    isAsked &&
      h(Loading, {
        of: found,
        what: 'the comparison',
        children: (/** @type {Api.HeapDifference} */ { classes }) =>
          classes.length === 0
            ? h(Empty, null, 'Nothing has changed.')
            : h(Table, {
                label: 'What grew, by class',
                rows: classes,
                keyOf: (/** @type {Api.HeapDifference['classes'][0]} */ row) => row.type,
                columns: /** @type {import('../ui/table.js').Column<Api.HeapDifference['classes'][0]>[]} */ ([
                  { head: 'Class', class: 'mono', cell: row => h(Text, { text: row.type }) },
                  { head: 'Objects before', isNumber: true, cell: row => count(row.count_old) },
                  { head: 'Now', isNumber: true, cell: row => count(row.count_new) },
                  { head: 'Change', isNumber: true, cell: row => signed(row.count_new - row.count_old, count) },
                  { head: 'Size', isNumber: true, cell: row => signed(row.bytes_new - row.bytes_old, size) },
                ]),
              }),
      }),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function HeapPage({ params: { name }, query }) {
  const kept = useGet('debug/snapshots')
  const all = /** @type {{snapshots: Api.Snapshot[]} | null} */ (kept.value)?.snapshots ?? []
  const about = all.find(each => each.name === name)
  return h(
    'div',
    null,
    h(Title, { title: about ? `Heap of ${about.worker}` : 'Heap', up: [[to(['heaps']), 'Heaps']] }),
    about &&
      h(
        'p',
        { class: 'soft' },
        h('code', null, name),
        ', taken ',
        h(Time, { at: about.at }),
        `: ${reasonOf(about.reason)}; ${size(about.size_bytes)} on disk. `,
        about.connection && h(ConnectionName, { name: about.connection }),
      ),
    !mayAct()
      ? h(Empty, null, 'What a heap holds is for operators.')
      : about && about.format !== 'heapsnapshot'
        ? h(Empty, null, `A ${about.format} has no objects to look at; bulkhead heap report opens it.`)
        : h(Inside, { name, about, all, query }),
  )
}

/** @param {{name: string, about: Api.Snapshot | undefined, all: Api.Snapshot[], query: Record<string, string>}} props */
function Inside({ name, about, all, query }) {
  const report = useGet(path('debug', 'snapshots', name, 'report'))
  return h(
    'div',
    null,
    h(Find, { name, query }),
    h('p', null, h('a', { href: objectLink(name, 'root') }, 'From the root')),
    h(Loading, {
      of: report,
      what: 'the report, which is made now',
      children: (/** @type {Api.HeapReport} */ found) =>
        h(
          'div',
          null,
          h('p', null, `${plural(found.objects, 'object')}, ${size(found.bytes)}.`),
          found.about.notes?.map(note => h('p', { key: note, class: 'notice warn' }, h(Text, { text: note }))),
          h('h2', null, 'Suspects'),
          h(Suspects, { name, suspects: found.suspects }),
          h('h2', null, 'What keeps what alive'),
          h(
            'p',
            { class: 'soft' },
            'Each row lies below what keeps it alive; width is memory. Click to go in, and above to go out.',
          ),
          h(Icicle, { name, picture: found.picture }),
          h('h2', null, 'Objects by class'),
          h(Classes, { classes: found.by_class }),
        ),
    }),
    about && h('div', null, h('h2', null, 'What grew'), h(Difference, { about, all, query })),
  )
}
