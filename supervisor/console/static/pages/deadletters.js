// @ts-check
// What failed for good, by cause first. What is chosen is always the filter in the address, and all
// that matches it, not what the page happens to show.
import { h } from '../vendor.js'
import { mayAct } from '../api.js'
import { setQuery, to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName } from '../ui/colour.js'
import { count, plural } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Choice, Search } from '../ui/search.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'
import { JobButton } from './deadletters/start.js'

/** @typedef {Record<string, string>} Names */

const FILTERS = ['connection', 'outcome', 'cause', 'error', 'since', 'until']

/** The part of an address that chooses dead letters. @param {Names} query @returns {Names} */
const filterOf = query => Object.fromEntries(FILTERS.filter(name => query[name]).map(name => [name, query[name]]))

/** @param {{where: Names, fixed: Names}} props `fixed` is not to be changed here */
function Filters({ where, fixed }) {
  const change =
    (/** @type {string} */ name, isStep = true) =>
    (/** @type {string} */ value) => {
      setQuery({ [name]: value.trim(), after: null }, isStep)
    }
  return h(
    'div',
    null,
    h(
      'div',
      { class: 'bar filters' },
      !fixed.connection &&
        h(Search, {
          label: 'Connection, its whole name',
          value: where.connection ?? '',
          onSearch: change('connection', false),
        }),
      h(Choice, {
        label: 'Outcome',
        value: where.outcome ?? '',
        choices: [
          ['', 'Any'],
          ['failed', 'Failed'],
          ['quarantined', 'Quarantined'],
        ],
        onChoose: change('outcome'),
      }),
      h(Search, { label: 'Text in the reason', value: where.error ?? '', onSearch: change('error', false) }),
    ),
    (where.cause || where.since || where.until) &&
      h(
        'p',
        { class: 'bar' },
        where.cause &&
          h(
            'span',
            null,
            'Only the cause ',
            h('b', null, h(Text, { text: where.cause })),
            ' ',
            h(
              'button',
              {
                type: 'button',
                class: 'plain',
                onClick: () => {
                  setQuery({ cause: null, after: null })
                },
              },
              'All causes',
            ),
          ),
        (where.since || where.until) &&
          h(
            'span',
            null,
            'Only',
            where.since && [' since ', h(Time, { at: where.since })],
            where.until && [' until ', h(Time, { at: where.until })],
            ' ',
            h(
              'button',
              {
                type: 'button',
                class: 'plain',
                onClick: () => {
                  setQuery({ since: null, until: null, after: null })
                },
              },
              'Of all time',
            ),
          ),
      ),
  )
}

/** @param {{found: Api.Causes, link: (cause: Api.Cause) => string}} props */
function Groups({ found, link }) {
  if (found.causes.length === 0) return h(Empty, null, 'No dead letter matches.')
  return h(
    'div',
    null,
    h(Table, {
      label: 'Dead letters by cause',
      rows: found.causes,
      keyOf: (/** @type {Api.Cause} */ one) => `${one.connection} ${one.outcome} ${one.cause}`,
      columns: /** @type {import('../ui/table.js').Column<Api.Cause>[]} */ ([
        { head: 'Cause', class: 'text', cell: one => h(Text, { text: one.cause }), link },
        { head: 'Connection', cell: one => h(ConnectionName, { name: one.connection }) },
        { head: 'Outcome', class: 'fit', cell: one => h(Chip, { state: one.outcome }) },
        { head: 'How many', isNumber: true, cell: one => h('a', { href: link(one) }, count(one.count)) },
        { head: 'First', class: 'fit', cell: one => h(Time, { at: one.first_at }) },
        { head: 'Last', class: 'fit', cell: one => h(Time, { at: one.last_at }) },
      ]),
    }),
    found.more > 0 && h('p', { class: 'soft' }, `${count(found.more)} smaller groups are not shown; they match, too.`),
  )
}

/** @type {import('../ui/table.js').Column<Api.Letter>[]} */
const COLUMNS = [
  {
    head: 'Message',
    cell: letter => h(Text, { text: letter.message_id }),
    link: letter => to(['deadletters', letter.id]),
  },
  { head: 'Connection', cell: letter => h(ConnectionName, { name: letter.connection }) },
  { head: 'Outcome', class: 'fit', cell: letter => h(Chip, { state: letter.outcome }) },
  { head: 'Reason', class: 'text', cell: letter => h(Text, { text: letter.reason }) },
  { head: 'Attempts', isNumber: true, cell: letter => count(letter.attempts) },
  { head: 'Last', class: 'fit', cell: letter => h(Time, { at: letter.last_at }) },
  {
    head: 'Exit',
    class: 'fit',
    cell: letter => letter.exit && h('a', { href: to(['exits', letter.exit]) }, 'of its worker'),
  },
]

/**
 * @param {{fixed: Names, query: Names}} props `fixed` is what the page is about, and stays
 */
export function Letters({ fixed, query }) {
  const where = { ...filterOf(query), ...fixed }
  const causes = useGet('deadletters/causes', where),
    rows = useGet('deadletters', { ...where, limit: 100, after: query.after })
  const here = (/** @type {import('../api.js').Query} */ more) =>
    to(fixed.connection ? ['connections', fixed.connection, 'letters'] : ['deadletters'], {
      ...filterOf(query),
      ...(fixed.connection ? { connection: null } : {}),
      ...more,
    })
  const link = (/** @type {Api.Cause} */ one) =>
    here({ outcome: one.outcome, cause: one.cause, ...(fixed.connection ? {} : { connection: one.connection }) })
  return h(
    'div',
    null,
    h(Filters, { where, fixed }),
    h(Loading, {
      of: causes,
      what: 'the causes',
      children: (/** @type {Api.Causes} */ found) =>
        h(
          'div',
          null,
          h(
            'div',
            { class: 'bar' },
            h(
              'p',
              { role: 'status' },
              h('b', null, plural(found.total, 'dead letter')),
              found.total === 1 ? ' matches' : ' match',
            ),
            mayAct() && found.total > 0 && h(JobButton, { kind: 'replay', where }),
            mayAct() && found.total > 0 && h(JobButton, { kind: 'drop', where }),
            h('a', { href: to(['jobs']) }, 'Earlier jobs'),
          ),
          h('h2', null, 'By cause'),
          h(Groups, { found, link }),
        ),
    }),
    h('h2', null, 'One by one, newest first'),
    h(Loading, {
      of: rows,
      what: 'dead letters',
      children: (/** @type {Api.Letters} */ { deadletters, next }) =>
        h(
          'div',
          null,
          deadletters.length === 0
            ? h(Empty, null, 'None.')
            : h(Table, {
                label: 'Dead letters',
                columns: COLUMNS,
                rows: deadletters,
                keyOf: (/** @type {Api.Letter} */ letter) => letter.id,
              }),
          h(
            'div',
            { class: 'bar' },
            query.after && h('a', { href: here({}) }, 'Newest'),
            next && h('a', { href: here({ after: next }) }, 'Older'),
          ),
        ),
    }),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function DeadLetters({ query }) {
  return h('div', null, h(Title, { title: 'Dead letters' }), h(Letters, { fixed: {}, query }))
}
