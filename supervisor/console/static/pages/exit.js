// @ts-check
// A death certificate: who ended, when, of what, through whose fault, and what became of its work.
// One page that can be printed.
import { h } from '../vendor.js'
import { mayAct, path } from '../api.js'
import { to } from '../routes.js'
import { ConnectionName } from '../ui/colour.js'
import { CopyButton } from '../ui/copy.js'
import { count, plural, span } from '../ui/format.js'
import { Raw, Text } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { size } from '../ui/meter.js'
import { Facts, Title } from '../ui/page.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'
import { OpenConnections } from './worker.js'

/** What each reason means, in a sentence. @type {Record<string, string>} */
const MEANINGS = {
  crash: 'Its process ended by itself, or code of a destination ended it.',
  signal: 'The kernel or somebody ended it by a signal.',
  oom: 'It used all the memory that it may.',
  leak: 'Its memory grew without end, so it was replaced in time.',
  limit: 'It went over a limit of the sandbox.',
  timeout: 'It did not answer in time: its loop was blocked, or a batch took too long.',
  protocol: 'It said what no worker may say, which is believed of nobody.',
  egress: 'It tried to connect where it may not.',
  recycle: 'Somebody, or its age, had it replaced.',
  drain: 'The service stopped, or no longer needed it.',
}
/** Ends that nobody is at fault for. */
const PEACEFUL = ['recycle', 'drain']
/** Frames that everybody has: they are folded. */
const COMMON = /\/(asyncio|sandbox|uvloop|concurrent|threading)[/.]|lib\/python3[^/]*\/(?!site-packages)/

/** Stacks, folded to the frames that are somebody's own. @param {{text: string}} props */
function Stacks({ text }) {
  const lines = text.split('\n'),
    own = lines.filter(line => line.trim() !== '' && !COMMON.test(line))
  return h(
    'section',
    { 'aria-labelledby': 'stacks' },
    h('h2', { id: 'stacks' }, 'Stacks'),
    own.length > 0 &&
      own.length < lines.length &&
      h(Raw, { text: own.join('\n'), label: 'stacks without what is everybody’s' }),
    h(
      'details',
      { open: own.length === 0 || own.length >= lines.length },
      h('summary', null, `All ${plural(lines.length, 'line')}`),
      h(Raw, { text, label: 'stacks in full' }),
    ),
    h(CopyButton, { label: 'Copy the stacks', text }),
  )
}

/** @param {{exit: Api.Certificate}} props */
function Events({ exit }) {
  if (exit.events.length === 0) return h(Empty, null, 'It had nothing that it had not reported.')
  const more = Math.max(0, exit.unreported - exit.events.length)
  return h(
    'ul',
    { class: 'named-list' },
    exit.events.map(id =>
      h(
        'li',
        { key: id },
        h('a', { href: to(['events', id]) }, h('code', null, h(Text, { text: id }))),
        id === exit.event && h('b', null, ' at the step that was marked'),
      ),
    ),
    more > 0 && h('li', { class: 'soft' }, `${count(more)} more`),
  )
}

/** What may become of a delivery: as it had told before its end, then as was decided then. @type {[Exclude<keyof Api.HeldBatch, 'connection' | 'is_probe'>, string][]} */
const FATES = [
  ['delivered', 'delivered'],
  ['failed', 'failed or unsupported'],
  ['retried', 'to be tried again later'],
  ['given_back', 'given back'],
  ['sent_again', 'sent again, at no charge'],
  ['tried_alone', 'tried alone'],
  ['tried_together', 'tried once more together'],
  ['postponed', 'sent later, each alone'],
  ['quarantined', 'quarantined'],
]

/** @param {Api.HeldBatch} batch */
function becameOf(batch) {
  const said = FATES.filter(([key]) => batch[key] > 0)
  const left = batch.events - said.reduce((sum, [key]) => sum + batch[key], 0)
  return h(
    'ul',
    { class: 'named-list' },
    said.map(([key, words]) =>
      h(
        'li',
        { key },
        key === 'quarantined'
          ? h(
              'a',
              { href: to(['deadletters'], { connection: batch.connection, outcome: key }) },
              `${count(batch[key])} ${words}`,
            )
          : `${count(batch[key])} ${words}`,
      ),
    ),
    left > 0 && h('li', null, `${count(left)} not decided when the service ended: pending`),
  )
}

/** @param {{exit: Api.Certificate}} props */
function Batches({ exit }) {
  const { batches = [], more_batches: more = 0 } = exit
  if (exit.connections.length === 0) return h(Empty, null, 'It had none: it had finished all that it was given.')
  if (batches.length === 0)
    return h(
      'ul',
      { class: 'named-list' },
      exit.connections.map(name => h('li', { key: name }, h(ConnectionName, { name }))),
    )
  return h(
    'div',
    null,
    h(Table, {
      label: 'What became of its batches',
      rows: batches,
      keyOf: (/** @type {Api.HeldBatch} */ each) => String(each.batch),
      columns: /** @type {import('../ui/table.js').Column<Api.HeldBatch>[]} */ ([
        { head: 'Connection', cell: each => h(ConnectionName, { name: each.connection }) },
        { head: 'Events', isNumber: true, cell: each => count(each.events) },
        { head: 'What became of them', class: 'text', cell: becameOf },
        { head: 'Sent for', class: 'fit', cell: each => (each.is_probe ? 'a probe' : 'delivery') },
      ]),
    }),
    more > 0 && h('p', { class: 'soft' }, `${plural(more, 'batch', 'batches')} more`),
    batches.some(each => each.tried_alone + each.tried_together > 0) &&
      h(
        'p',
        { class: 'soft' },
        'What is tried goes to a worker of its connection’s own, where nothing else can have done it: if that dies, it has ',
        h('a', { href: to(['exits'], { connection: exit.connection ?? undefined }) }, 'a certificate of its own'),
        '.',
      ),
  )
}

/** How often the like was seen. @param {{exit: Api.Certificate}} props */
function Before({ exit }) {
  const { reason, connection } = exit
  const before = useGet('debug/exits', { reason, connection, until: exit.at, limit: 101 })
  return h(Loading, {
    of: before,
    what: 'earlier ones',
    children: (/** @type {Api.Exits} */ found) => {
      const seen = found.exits.filter(each => each.id !== exit.id).length
      return h(
        'p',
        null,
        seen === 0
          ? 'The like was not seen before.'
          : h(
              'a',
              { href: to(['exits'], { reason, connection }) },
              `Seen ${seen > 99 ? 'more than 99 times' : plural(seen, 'time')} before: ${reason}${connection ? ` of ${connection}` : ''}`,
            ),
      )
    },
  })
}

/** @param {{exit: Api.Certificate}} props */
function Certificate({ exit }) {
  const { usage } = exit
  return h(
    'article',
    { class: 'certificate', 'aria-label': 'Death certificate' },
    h(
      'p',
      { class: 'verdict' },
      h('b', null, exit.worker),
      ' of the pool ',
      h('a', { href: to(['pools', exit.pool]) }, exit.pool),
      ' ended ',
      h(Time, { at: exit.at }),
      ' of ',
      h('b', { class: PEACEFUL.includes(exit.reason) ? '' : 'bad' }, exit.reason),
      '. ',
      MEANINGS[exit.reason] ?? '',
    ),
    exit.detail && h('p', null, h(Text, { text: exit.detail })),
    h(Facts, {
      label: 'Of whom and of what',
      rows: [
        [
          'Whose fault',
          exit.connection
            ? h(ConnectionName, { name: exit.connection })
            : PEACEFUL.includes(exit.reason)
              ? 'nobody’s'
              : 'not known',
        ],
        [
          'The event',
          exit.event
            ? h('a', { href: to(['events', exit.event]) }, h('code', null, h(Text, { text: exit.event })))
            : 'none was marked',
        ],
        ...(exit.destination ? [/** @type {[string, any]} */ (['Destination', exit.destination])] : []),
        ['Process', exit.pid === null ? 'none' : `pid ${exit.pid}, lived ${span(exit.uptime_s)}`],
        ...(usage
          ? /** @type {[string, any][]} */ ([
              ['Most memory', size(usage.max_rss_bytes)],
              ['CPU', `${span(usage.user_s)} in code, ${span(usage.system_s)} in the kernel`],
              ['Had to wait for a CPU', plural(usage.preempted, 'time')],
              ['Read and wrote', `${plural(usage.blocks_in, 'block')}, ${plural(usage.blocks_out, 'block')}`],
            ])
          : []),
      ],
    }),
    h(Before, { exit }),
    h('h2', null, 'What became of its batches'),
    h(Batches, { exit }),
    exit.unreported > 0 &&
      h('p', { class: 'soft' }, `${plural(exit.unreported, 'delivery', 'deliveries')} without an outcome:`),
    (exit.connections.length > 0 || exit.events.length > 0) && h(Events, { exit }),
    exit.open_connections &&
      Object.keys(exit.open_connections).length > 0 &&
      h(
        'div',
        null,
        h('h2', null, 'What it held open'),
        h(OpenConnections, { open: exit.open_connections, curve: exit.open_curve, what: 'connections still open' }),
      ),
    exit.snapshot &&
      h(
        'div',
        null,
        h('h2', null, 'Its memory'),
        h(
          'p',
          null,
          'A snapshot was taken before it went: ',
          h('a', { href: to(['heaps', exit.snapshot]) }, 'who holds what'),
        ),
      ),
    exit.stacks_text
      ? h(Stacks, { text: exit.stacks_text })
      : exit.stacks && h('p', { class: 'soft' }, 'Its stacks are for operators.'),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function ExitPage({ params: { id } }) {
  const mayRead = mayAct()
  const exit = useGet(mayRead ? path('debug', 'exits', id) : null)
  return h(
    'div',
    null,
    h(
      Title,
      { title: 'Death certificate', up: [[to(['exits']), 'Exits']] },
      h(
        'button',
        {
          type: 'button',
          onClick: () => {
            print()
          },
        },
        'Print',
      ),
    ),
    mayRead
      ? h(Loading, {
          of: exit,
          what: 'the certificate',
          children: (/** @type {Api.Certificate} */ found) => h(Certificate, { exit: found }),
        })
      : h(FromList, { id }),
  )
}

/** For a viewer: the record without evidence, from the list. @param {{id: string}} props */
function FromList({ id }) {
  const exits = useGet('debug/exits', { limit: 1000 })
  return h(Loading, {
    of: exits,
    what: 'the certificate',
    children: (/** @type {Api.Exits} */ found) => {
      const exit = found.exits.find(each => each.id === id)
      return exit
        ? h(Certificate, { exit })
        : h(Empty, null, 'There is no such exit, or it is too long ago for a viewer to look up.')
    },
  })
}
