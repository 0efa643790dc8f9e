// @ts-check
// A connection's queue: its state and why in words, what it may send, and the hand on it.
import { h, useMemo } from '../../vendor.js'
import { mayAct, path, post } from '../../api.js'
import { to } from '../../routes.js'
import { Chart } from '../../ui/chart.js'
import { Chip } from '../../ui/chip.js'
import { AskButton } from '../../ui/dialog.js'
import { count, plural, rate, span } from '../../ui/format.js'
import { Text } from '../../ui/json.js'
import { Empty, Loading, useGet } from '../../ui/load.js'
import { size } from '../../ui/meter.js'
import { Facts, Figure, Figures } from '../../ui/page.js'
import { choosePeriod, PeriodChoice, usePeriod } from '../../ui/period.js'
import { Why } from '../apart.js'

/** @type {Record<string, string>} */
const STATES = {
  open: 'It sends as events come.',
  throttled: 'It sends, but no faster than it may.',
  backing_off: 'It waits, then tries again.',
  tripped: 'Its circuit breaker is open: nothing is sent but a probe now and then.',
  paused: 'Somebody paused it. Events are kept until it is resumed.',
  disabled: 'The config has it disabled. Events for it are filtered.',
}

/** @param {{of: Api.Connection, again: () => void}} props */
function Hand({ of: { queue }, again }) {
  if (!mayAct()) return null
  const name = queue.connection,
    at = (/** @type {string} */ act) => () => post(path('connections', name, act))
  return h(
    'div',
    { class: 'bar' },
    queue.state === 'paused'
      ? h(AskButton, {
          label: 'Resume deliveries',
          title: `Resume ${name}?`,
          run: at('resume'),
          onDone: again,
          class: 'main',
          children: h(
            'p',
            null,
            `It sends again at once, beginning with what waits: ${plural(queue.depth, 'delivery', 'deliveries')}.`,
          ),
        })
      : h(AskButton, {
          label: 'Pause deliveries',
          title: `Pause ${name}?`,
          run: at('pause'),
          onDone: again,
          children: h(
            'p',
            null,
            'Nothing more is sent until somebody resumes it. Events are taken in and kept; what is in flight ends.',
          ),
        }),
    (queue.state === 'tripped' || queue.state === 'backing_off') &&
      h(AskButton, {
        label: 'Probe now',
        title: `Probe ${name}?`,
        run: at('probe'),
        onDone: again,
        children: h('p', null, 'One batch is sent now. Where its destination takes it, the rest follows.'),
      }),
  )
}

/** @param {{trends: Api.Trends, period: {from: number, to: number}}} props */
function Depth({ trends, period }) {
  const bars = useMemo(() => [{ label: 'Waiting', tone: 'accent', values: trends.columns.depth ?? [] }], [trends])
  if (!trends.columns.depth || trends.times.length === 0) return h(Empty, null, 'Nothing was counted in this time.')
  return h(Chart, {
    label: 'Deliveries that wait',
    times: trends.times,
    bars,
    restart: trends.restart,
    step_s: trends.step_s,
    period,
    onBrush: choosePeriod,
    barText: each => count(each === null ? null : Math.round(each)),
  })
}

/** @param {{queue: Api.QueueStatus, blame: Api.Blame}} props @returns {[string, any][]} any: whatever preact draws */
function facts({ queue, blame }) {
  return [
    ['Batches at once', count(queue.concurrency)],
    ['Events in a batch', `at most ${count(queue.batch_events)}`],
    ['Proven rate', rate(queue.proven_per_s)],
    ['Retries may go', rate(queue.retries_per_s)],
    ['Breaker opened', plural(queue.trips, 'time')],
    [
      'Users held back',
      queue.held_users
        ? `${count(queue.held_users)}, with ${plural(queue.held_deliveries, 'delivery', 'deliveries')}, for up to ${span(queue.held_s)}`
        : 'none',
    ],
    [
      'Leaves behind',
      queue.leak_bytes_per_event
        ? `${size(queue.leak_bytes_per_event)} an event in a worker’s memory`
        : 'nothing that was noticed',
    ],
    [
      'Egress refused',
      queue.egress_refused
        ? h('span', null, `${plural(queue.egress_refused, 'time')}: `, h(Text, { text: queue.last_egress_refusal }))
        : 'never',
    ],
    ['Trust', blame.standing],
    ['Worker deaths', h('a', { href: to(['exits'], { connection: queue.connection }) }, count(blame.worker_deaths))],
    ['Workers used up', count(blame.workers_used_up)],
    [
      'Kept others waiting',
      blame.hogged ? h('span', null, `${plural(blame.hogged, 'time')}: `, h(Text, { text: blame.hogs })) : 'never',
    ],
    ['Score', `${blame.score.toFixed(1)}; at 4 it trips`],
  ]
}

/** @type {(props: import('../connection.js').TabProps) => any} any: whatever preact draws */
export default function Queue({ of, query, again }) {
  const { queue } = of,
    blame = of.blame ?? queue.blame,
    period = usePeriod(query)
  const trends = useGet('trends', { connection: queue.connection, from: period.from, to: period.to })
  return h(
    'div',
    null,
    h(
      'div',
      { class: 'card' },
      h(
        'p',
        null,
        h(Chip, { state: queue.state }),
        ' ',
        STATES[queue.state] ?? '',
        ' ',
        h(Text, {
          text: queue.state_reason && `${queue.state_reason[0].toUpperCase()}${queue.state_reason.slice(1)}.`,
        }),
      ),
      queue.waiting_for &&
        h('p', { class: 'soft' }, 'Its next delivery waits for ', h(Text, { text: queue.waiting_for }), '.'),
      queue.next_attempt_in_s !== null &&
        h('p', { class: 'soft' }, `The next retry is due in ${span(queue.next_attempt_in_s)}.`),
      blame.apart && h(Why, { why: blame.apart }),
      h(Hand, { of, again }),
    ),
    h('h2', null, 'Now'),
    h(
      Figures,
      { label: 'The queue now' },
      h(Figure, { label: 'Waiting', value: count(queue.depth) }),
      h(Figure, { label: 'In flight', value: count(queue.inflight), link: to(['pools', queue.pool]) }),
      h(Figure, { label: 'Oldest', value: span(queue.oldest_s) }),
    ),
    h(Facts, { label: 'What it may and what it cost', rows: facts({ queue, blame }) }),
    h('h2', null, 'Over time'),
    h(PeriodChoice, { period }),
    h(Loading, {
      of: trends,
      what: 'the trends',
      children: (/** @type {Api.Trends} */ found) => h(Depth, { trends: found, period }),
    }),
  )
}
