// @ts-check
// One event: a line of each delivery, from its receipt to its outcome, and why it is not there yet.
import { h } from '../vendor.js'
import { path } from '../api.js'
import { to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName } from '../ui/colour.js'
import { CopyButton } from '../ui/copy.js'
import { plural } from '../ui/format.js'
import { Json, Text } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Time } from '../ui/time.js'
import { Attempts, KeptSince } from './event/attempts.js'

/** Steps of a delivery that is on its way or at its end. @param {{delivery: Api.Delivery}} props */
function Way({ delivery: { state, outcome, attempts, last_error, waiting_for, next_attempt_at, connection } }) {
  /** @type {[string, any, string][]} */ // any: whatever preact draws
  const steps = [['Committed', 'It is on disk.', 'done']]
  if (attempts > 0)
    steps.push([
      plural(attempts, 'attempt'),
      last_error
        ? [
            'The last one that failed: ',
            h('a', { href: to(['issues'], { connection }) }, h(Text, { text: last_error })),
          ]
        : attempts > 1
          ? 'The last one did not fail.'
          : 'It did not fail.',
      last_error ? 'warn' : 'done',
    ])
  if (state === 'pending') {
    steps.push([
      'Waits',
      [
        'for ',
        h(Text, { text: waiting_for ?? 'its turn' }),
        next_attempt_at && [', next attempt ', h(Time, { at: next_attempt_at })],
      ],
      'now',
    ])
  } else if (state === 'dead') {
    steps.push([
      outcome ?? 'dead letter',
      h('a', { href: to(['deadletters'], { connection }) }, 'among the dead letters'),
      'bad',
    ])
  } else steps.push([(outcome ?? 'finished').replaceAll('_', ' '), '', 'done'])
  return h(
    'ol',
    { class: 'way' },
    steps.map(([name, what, tone]) => h('li', { key: name, class: tone }, h('b', null, name), ' ', what)),
  )
}

/** @param {{record: Api.EventRecord, children?: any}} props any: whatever preact draws */
function Record({ record, children }) {
  return h(
    'section',
    { 'aria-label': `Received by ${record.source}` },
    h(
      'p',
      null,
      'Received ',
      h(Time, { at: record.received_at }),
      ' by the source ',
      h('a', { href: to(['sources', record.source, 'overview']) }, record.source),
      '.',
    ),
    h('h2', null, 'Its deliveries'),
    record.deliveries.length === 0
      ? h(Empty, null, 'No connection took it.')
      : h(
          'ul',
          { class: 'rows' },
          record.deliveries.map(delivery =>
            h(
              'li',
              { key: delivery.id, class: 'card' },
              h(
                'div',
                { class: 'bar' },
                h(ConnectionName, { name: delivery.connection }),
                h(Chip, {
                  state: delivery.outcome ?? delivery.state,
                  tone: delivery.outcome?.startsWith('delivered') ? 'good' : undefined,
                  text: (delivery.outcome ?? delivery.state).replaceAll('_', ' '),
                }),
              ),
              h(Way, { delivery }),
              h(Attempts, { delivery, hasEvent: record.body !== null }),
            ),
          ),
        ),
    children,
    h('h2', null, 'The event'),
    record.body === null
      ? h('p', { class: 'soft' }, 'It is not stored any more, or payloads are not shown (console.payloads).')
      : h(
          'div',
          null,
          h(CopyButton, { text: record.body, label: 'Copy the event' }),
          h(Json, { text: record.body, label: `Event of ${record.source}` }),
        ),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function EventPage({ params }) {
  const event = useGet(path('events', params.id), {}, 2)
  return h(
    'div',
    null,
    h(Title, { title: 'Event', up: [[to(['sources']), 'Sources']] }),
    h(
      'p',
      { class: 'bar' },
      h('code', null, h(Text, { text: params.id })),
      h(CopyButton, { label: 'Copy the id', text: params.id }),
    ),
    event.error?.status === 404
      ? h(
          Empty,
          null,
          'No event with this message id is known: it was never accepted, or it finished so long ago that nothing is kept of it.',
        )
      : h(Loading, {
          of: event,
          what: 'the event',
          children: (/** @type {Api.FoundEvent} */ found) =>
            h(
              'div',
              null,
              h(Record, { record: found }, h(KeptSince, { found })),
              found.others.length > 0 &&
                h(
                  'div',
                  null,
                  h('h2', null, 'Of the same id, received elsewhere'),
                  found.others.map(record => h(Record, { key: record.source, record })),
                ),
            ),
        }),
  )
}
