// @ts-check
// Events of a source as they come: a told sample, the rejected ones in a ring of their own, so that
// good ones do not push them out. Pause stops the drawing and the stream.
import { Component, h, useEffect, useMemo, useRef, useState } from '../vendor.js'
import { me, path } from '../api.js'
import { paused, watch } from '../live.js'
import { go, setQuery, to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName } from '../ui/colour.js'
import { CopyButton } from '../ui/copy.js'
import { count, plural } from '../ui/format.js'
import { Json, Raw, Text } from '../ui/json.js'
import { useKeys } from '../ui/keys.js'
import { Empty, Problem, useGet } from '../ui/load.js'
import { size } from '../ui/meter.js'
import { Facts } from '../ui/page.js'
import { Choice, Search } from '../ui/search.js'
import { Time, clock, moment, zone } from '../ui/time.js'

/** Rows that are kept here, of each ring. */
const KEPT = 500
/** So much of each text is searched, in characters. */
const SOUGHT = 8192
const TYPES = ['identify', 'track', 'page', 'screen', 'group', 'alias']
/** @type {Record<string, [string, string]>} */
const SIGNS = { taken: ['✓', 'good'], repeat: ['–', 'soft'], rejected: ['✗', 'bad'] }
/** @type {[string, string][]} */
const OUTCOMES = [
  ['', 'All'],
  ['taken', 'Taken'],
  ['unrouted', 'Taken, goes nowhere'],
  ['repeat', 'Duplicates'],
  ['rejected', 'Rejected'],
]
/** @type {[string, string][]} */
const VIEWS = [
  ['pretty', 'Pretty'],
  ['raw', 'Raw'],
  ['violations', 'Violations'],
  ['deliveries', 'Deliveries'],
]

/**
 * @typedef {{taken: Api.Sample[], rejected: Api.Sample[], told: Api.Tap | null, gap: string}} Rings
 *   `gap` is when the first row came before which some are missing, '' where none is
 */

/** @param {Api.Sample} row */
const keyOf = row => `${row.outcome === 'rejected' ? 'r' : 't'}${row.n}`

/**
 * Both rings, newest first, drawn once a frame at most.
 * @param {string} source
 */
function useRings(source) {
  const [rings, draw] = useState(/** @type {Rings} */ ({ taken: [], rejected: [], told: null, gap: '' }))
  const [error, fail] = useState(/** @type {import('../api.js').ApiError | null} */ (null))
  const next = useRef(rings),
    frame = useRef(0)
  useEffect(() => {
    /** @type {(ring: 'taken' | 'rejected') => import('../live.js').Taker} */
    const taker = ring => (value, isFirst) => {
      const tap = /** @type {Api.Tap} */ (value)
      const before = isFirst ? [] : next.current[ring],
        known = new Set(before.map(row => row.n))
      const rows = tap.rows.filter(row => !known.has(row.n)).sort((a, b) => b.n - a.n)
      // What overlaps with what is here has no gap, however much was left out of it.
      const isCut = tap.lossy && before.length > 0 && rows.length === tap.rows.length
      next.current = {
        ...next.current,
        [ring]: [...rows, ...before].slice(0, KEPT),
        told: tap,
        gap: isCut ? (rows.at(-1)?.at ?? tap.rows[0]?.at ?? '') : isFirst ? '' : next.current.gap,
      }
      fail(null)
      cancelAnimationFrame(frame.current)
      frame.current = requestAnimationFrame(() => {
        draw(next.current)
      })
    }
    const ends = [
      watch(`tap:${source}`, taker('taken'), { fail }),
      watch(`tap-rejected:${source}`, taker('rejected'), { fail }),
    ]
    return () => {
      cancelAnimationFrame(frame.current)
      for (const end of ends) end()
    }
  }, [source])
  return { rings, error }
}

/**
 * @param {Rings} rings
 * @param {Record<string, string>} query
 */
function chosenOf(rings, { outcome = '', type = '', q = '' }) {
  const sought = q.toLowerCase()
  const rows = outcome === 'rejected' ? rings.rejected : outcome ? rings.taken : [...rings.taken, ...rings.rejected]
  return rows
    .filter(
      row =>
        (outcome === '' ||
          outcome === 'rejected' ||
          (outcome === 'unrouted' ? row.outcome === 'taken' && row.to.length === 0 : row.outcome === outcome)) &&
        (!type || row.type === type) &&
        (!sought ||
          [row.name, row.message_id, row.type, row.code, row.cause, row.body].some(text =>
            text?.slice(0, SOUGHT).toLowerCase().includes(sought),
          )),
    )
    .sort((a, b) => (a.at === b.at ? b.n - a.n : a.at < b.at ? 1 : -1))
    .slice(0, KEPT)
}

/**
 * One row of the list. It is drawn anew where something of it has changed: of five hundred, most stay.
 * What was drawn is kept by nobody else, since by what it hangs on, it keeps the rows of its time.
 * @typedef {{row: Api.Sample, isChosen: boolean, isStop: boolean, zone: string}} RowProps
 */
class Row extends Component {
  /** @param {RowProps} next */
  shouldComponentUpdate(next) {
    const now = /** @type {RowProps} */ (/** @type {unknown} */ (this.props))
    return (
      next.row !== now.row || next.isChosen !== now.isChosen || next.isStop !== now.isStop || next.zone !== now.zone
    )
  }

  /** @param {RowProps} props */
  render({ row, isChosen, isStop }) {
    const [sign, tone] = SIGNS[row.outcome] ?? SIGNS.taken
    const isNowhere = row.outcome === 'taken' && !row.to.length
    return h(
      'div',
      {
        class: 'event-row',
        role: 'option',
        'data-key': keyOf(row),
        'aria-selected': isChosen,
        tabIndex: isStop ? 0 : -1,
      },
      h('span', { class: isNowhere ? 'soft' : tone, role: 'img', 'aria-label': row.outcome }, isNowhere ? '–' : sign),
      h('b', { class: 'mono' }, h(Text, { text: row.type?.toUpperCase() ?? 'unknown' })),
      h('span', { class: 'event-name' }, h(Text, { text: row.name })),
      h('time', { class: 'soft mono', dateTime: row.at }, clock(moment(row.at))),
    )
  }
}

/** @param {{rows: Api.Sample[], chosen: Api.Sample | undefined, onChoose: (row: Api.Sample) => void}} props */
function List({ rows, chosen, onChoose }) {
  const box = useRef(/** @type {HTMLDivElement | null} */ (null))
  const stop = chosen && rows.includes(chosen) ? chosen : rows[0]
  const onKeyDown = (/** @type {KeyboardEvent} */ event) => {
    const from = rows.indexOf(stop)
    const target = {
      ArrowDown: from + 1,
      ArrowUp: from - 1,
      Home: 0,
      End: rows.length - 1,
      PageDown: from + 10,
      PageUp: from - 10,
    }[event.key]
    if (target === undefined || event.ctrlKey || event.metaKey || event.altKey || !rows.length) return
    event.preventDefault()
    const row = rows[Math.min(rows.length - 1, Math.max(0, target))]
    onChoose(row)
    requestAnimationFrame(() => {
      const item = box.current?.querySelector(`[data-key="${keyOf(row)}"]`)
      if (item instanceof HTMLElement) {
        item.focus({ preventScroll: true })
        item.scrollIntoView({ block: 'nearest' })
      }
    })
  }
  const onClick = (/** @type {MouseEvent} */ event) => {
    const item = event.target instanceof Element ? event.target.closest('[data-key]') : null
    const row = item && rows.find(each => keyOf(each) === item.getAttribute('data-key'))
    if (row) onChoose(row)
  }
  return h(
    'div',
    { class: 'event-list', role: 'listbox', 'aria-label': 'Events, newest first', ref: box, onClick, onKeyDown },
    rows.map(row => h(Row, { key: keyOf(row), row, isChosen: row === chosen, isStop: row === stop, zone: zone.value })),
  )
}

/** @param {string} text for a shell, in single quotes */
const quoted = text => `'${text.replaceAll("'", `'\\''`)}'`

/** @param {Api.Sample} row */
const curl = row =>
  `curl -u "$WRITE_KEY:" "$TRACKING_URL/v1/${row.type && TYPES.includes(row.type) ? row.type : 'track'}" \\\n  -H 'Content-Type: application/json' \\\n  --data-raw ${quoted(row.body ?? '{}')}\n`

/** Where its deliveries are, asked anew while somebody looks. @param {{row: Api.Sample}} props */
function Deliveries({ row }) {
  // A viewer is told the shape of an id alone, by which nothing is found.
  const id = row.outcome !== 'rejected' && me.value?.role === 'operator' ? row.message_id : null
  const found = useGet(id ? path('events', id) : null, {}, 2)
  const event = /** @type {Api.FoundEvent | null} */ (found.value)
  const state = new Map((event?.deliveries ?? []).map(each => [each.connection, each]))
  /** @type {[string, string][]} */
  const all = [
    ...row.to.map(
      name => /** @type {[string, string]} */ ([name, state.get(name)?.outcome ?? state.get(name)?.state ?? 'pending']),
    ),
    ...row.unsupported.map(name => /** @type {[string, string]} */ ([name, 'unsupported'])),
    ...row.filtered.map(name => /** @type {[string, string]} */ ([name, 'filtered'])),
  ]
  if (row.outcome === 'rejected')
    return h(Empty, null, 'It was rejected: the sender was told, and nothing of it was kept.')
  if (row.outcome === 'repeat')
    return h(Empty, null, 'Its message id was there before: it was delivered as that event, once.')
  if (all.length === 0) return h(Empty, null, 'No connection takes it.')
  return h(
    'div',
    null,
    h(
      'ul',
      { class: 'delivery-list' },
      all.map(([name, outcome]) =>
        h(
          'li',
          { key: name },
          h(ConnectionName, { name }),
          h(Chip, {
            state: outcome.startsWith('delivered') ? 'delivered' : outcome,
            text: outcome.replaceAll('_', ' '),
          }),
          h(
            'span',
            { class: 'soft' },
            h(Text, {
              text: state.get(name)?.waiting_for
                ? `waits for ${state.get(name)?.waiting_for}`
                : state.get(name)?.last_error,
            }),
          ),
        ),
      ),
    ),
    id && h('a', { href: to(['events', id]) }, 'All that is known of it'),
  )
}

/** @param {{row: Api.Sample}} props */
function Violations({ row }) {
  if (row.outcome !== 'rejected') return h(Empty, null, 'None: it is a valid event.')
  return h(Facts, {
    label: 'Why it was rejected',
    rows: [
      ['Code', h('code', null, row.code ?? 'not told')],
      ['Reason', h(Text, { text: row.reason ?? row.cause })],
    ],
  })
}

/** Which tester it is tried in. @param {{row: Api.Sample, connections: string[]}} props */
function TryAgainst({ row, connections }) {
  if (me.value?.role !== 'operator' || connections.length === 0 || row.body === null) return null
  return h(Choice, {
    label: 'Try against…',
    value: '',
    choices: [['', 'a connection'], ...connections.map(name => /** @type {[string, string]} */ ([name, name]))],
    onChoose: (/** @type {string} */ name) => {
      if (name) go(to(['connections', name, 'tester'], { event: row.message_id }))
    },
  })
}

/** @param {{row: Api.Sample, source: Api.Source, view: string}} props */
function Detail({ row, source, view }) {
  const name = row.name || row.type || 'an event'
  const isMasked = me.value?.role !== 'operator' || me.value.payloads !== 'full'
  return h(
    'section',
    { class: 'card event-detail', 'aria-labelledby': 'event-name' },
    h('div', { class: 'bar' }, h('h2', { id: 'event-name' }, h(Text, { text: name })), h(Chip, { state: row.outcome })),
    h(
      'p',
      { class: 'soft' },
      h(Time, { at: row.at }),
      `, ${size(row.size_bytes)}, message id `,
      row.message_id ? h('a', { href: to(['events', row.message_id]) }, h(Text, { text: row.message_id })) : 'none',
    ),
    h(
      'div',
      { class: 'bar' },
      row.body !== null && h(CopyButton, { label: 'Copy as JSON', text: row.body }),
      row.body !== null && h(CopyButton, { label: 'Copy as cURL', text: () => curl(row) }),
      h(TryAgainst, { row, connections: source.connections }),
    ),
    isMasked &&
      row.body !== null &&
      h(
        'p',
        { class: 'soft' },
        me.value?.role === 'operator'
          ? 'Values are masked, as console.payloads says; copies, too.'
          : 'You see shapes, not values.',
      ),
    h(
      'nav',
      { 'aria-label': 'Views of the event', class: 'tabs' },
      VIEWS.map(([each, words]) =>
        h(
          'button',
          {
            key: each,
            type: 'button',
            'aria-pressed': each === view,
            onClick: () => {
              setQuery({ view: each }, false)
            },
          },
          words,
        ),
      ),
    ),
    view === 'raw'
      ? row.body === null
        ? h(Empty, null, 'Its body is not kept here.')
        : h(Raw, { text: row.body, label: 'the event as it came' })
      : view === 'violations'
        ? h(Violations, { row })
        : view === 'deliveries'
          ? h(Deliveries, { key: keyOf(row), row })
          : row.body === null
            ? h(Empty, null, 'Its body is not kept here.')
            : h(Json, { key: keyOf(row), text: row.body, label: 'the event' }),
  )
}

/** @param {{source: Api.Source, query: Record<string, string>}} props */
export default function Debugger({ source, query }) {
  const { rings, error } = useRings(source.name)
  useKeys([
    {
      keys: ' ',
      what: 'Pause, and go on',
      run: () => {
        paused.value = !paused.value
      },
    },
  ])
  const rows = useMemo(() => chosenOf(rings, query), [rings, query.outcome, query.type, query.q])
  // What was chosen stays, when newer ones have pushed it out of the ring.
  const held = useRef(/** @type {Api.Sample | undefined} */ (undefined))
  const chosen =
    query.event === undefined
      ? rows[0]
      : (rows.find(row => keyOf(row) === query.row) ??
        rows.find(row => row.message_id === query.event) ??
        (held.current?.message_id === query.event ? held.current : undefined))
  held.current = chosen
  const choose = (/** @type {Api.Sample} */ row) => {
    setQuery({ event: row.message_id, row: keyOf(row) }, false)
  }
  const { told } = rings
  const set = (/** @type {string} */ name) => (/** @type {string} */ value) => {
    setQuery({ [name]: value }, false)
  }
  return h(
    'div',
    { 'aria-busy': told === null && !error },
    h(Problem, { error }),
    h(
      'div',
      { class: 'bar filters' },
      h(
        'div',
        { class: 'bar', role: 'group', 'aria-label': 'Live' },
        h(
          'button',
          {
            type: 'button',
            'aria-pressed': !paused.value,
            onClick: () => {
              paused.value = false
            },
          },
          'Live',
        ),
        h(
          'button',
          {
            type: 'button',
            'aria-pressed': paused.value,
            title: 'space',
            onClick: () => {
              paused.value = true
            },
          },
          'Pause',
        ),
      ),
      h(Search, { label: 'Search', value: query.q ?? '', onSearch: set('q') }),
      h(Choice, {
        label: 'Type',
        value: query.type ?? '',
        choices: [['', 'All'], ...TYPES.map(type => /** @type {[string, string]} */ ([type, type]))],
        onChoose: set('type'),
      }),
      h(Choice, { label: 'Outcome', value: query.outcome ?? '', choices: OUTCOMES, onChoose: set('outcome') }),
    ),
    h(
      'p',
      { class: 'soft' },
      told
        ? `A sample since the start: ${count(told.sampled)} of ${plural(told.seen, 'event')} taken, ${count(told.rejected_sampled)} of ${count(told.rejected_seen)} rejected; of those ${plural(rows.length, 'row')} here.`
        : 'Waiting for the first look…',
    ),
    rings.gap &&
      h(
        'p',
        { class: 'warn', role: 'status' },
        'Rows are missing before ',
        h(Time, { at: rings.gap }),
        ': they came faster than they could be shown.',
      ),
    rows.length === 0
      ? h(
          Empty,
          null,
          told && (rings.taken.length || rings.rejected.length)
            ? 'None of the rows here is like that.'
            : 'No event yet. What this source receives stands here within a second.',
        )
      : h(
          'div',
          { class: 'split debugger' },
          h(List, { rows, chosen, onChoose: choose }),
          chosen
            ? h(Detail, { row: chosen, source, view: query.view ?? 'pretty' })
            : h(
                'div',
                { class: 'card' },
                h('p', null, 'That event is no longer among the sample.'),
                query.event && h('a', { href: to(['events', query.event]) }, 'All that is known of it'),
              ),
        ),
  )
}
