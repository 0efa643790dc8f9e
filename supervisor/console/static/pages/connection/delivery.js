// @ts-check
// What became of a connection's deliveries in a period: numbers, funnel, trend, and what went wrong.
import { h } from '../../vendor.js'
import { to } from '../../routes.js'
import { count, plural, share, span } from '../../ui/format.js'
import { Loading, useGet } from '../../ui/load.js'
import { Figure, Figures } from '../../ui/page.js'
import { choosePeriod, PeriodChoice, usePeriod } from '../../ui/period.js'
import { DeliveryTrend } from '../../ui/trend.js'
import { IssueList } from '../issues.js'

/** @param {number} at epoch seconds */
const rfc3339 = at => new Date(at * 1000).toISOString()

/** @param {{trends: Api.Trends, of: Api.Connection}} props */
function Numbers({ trends: { totals, from, to: until }, of: { queue } }) {
  const name = queue.connection
  const letters = (/** @type {string} */ outcome) =>
    to(['connections', name, 'letters'], { outcome, since: rfc3339(from), until: rfc3339(until) })
  const events = to(['sources', queue.source, 'debugger'], { connection: name })
  /** @type {[string, string, string, string][]} */
  const numbers = [
    ['delivered_first_try', 'Delivered on first try', 'good', events],
    ['delivered_on_retry', 'Delivered on retry', 'good', to(['issues'], { connection: name, kind: 'retry' })],
    ['failed', 'Failed', 'bad', letters('failed')],
    ['quarantined', 'Quarantined', 'bad', letters('quarantined')],
    ['unsupported', 'Unsupported', '', events],
    ['filtered', 'Filtered', '', events],
  ]
  return h(
    'div',
    null,
    h(
      Figures,
      { label: 'Deliveries' },
      numbers.map(([key, label, tone, link]) =>
        h(Figure, { key, label, link, value: count(totals[key] ?? 0), tone: totals[key] ? tone : '' }),
      ),
    ),
    h(
      Figures,
      { label: 'From receipt to acknowledgement' },
      [
        ['p50_s', 'P50: half within'],
        ['p95_s', 'P95: 95 % within'],
        ['p99_s', 'P99: 99 % within'],
      ].map(([key, label]) => h(Figure, { key, label, value: span(totals[key]) })),
    ),
  )
}

/** @param {{totals: Api.Trends['totals']}} props */
function Funnel({ totals }) {
  const of = (/** @type {string} */ key) => totals[key] ?? 0
  const accepted = of('accepted'),
    due = Math.max(0, accepted - of('unsupported') - of('filtered'))
  const whole = Math.max(1, accepted, due, of('delivered_first_try'), of('delivered_on_retry'))
  /** @type {[string, number, string][]} */
  const steps = [
    ['Accepted', accepted, 'edge'],
    ['Due to be sent', due, 'edge'],
    ['Delivered on first try', of('delivered_first_try'), 'good'],
    ['Delivered on retry', of('delivered_on_retry'), 'retry'],
    ['Failed', of('failed'), 'bad'],
    ['Quarantined', of('quarantined'), 'warn'],
  ]
  return h(
    'ol',
    { class: 'funnel card' },
    steps.map(([label, n, tone]) =>
      h(
        'li',
        { key: label },
        h('span', null, label),
        h(
          'span',
          { class: 'track', 'aria-hidden': 'true' },
          h('span', {
            class: 'fill',
            style: {
              display: 'block',
              width: `${(100 * n) / whole}%`,
              '--tone': `var(--${tone})`,
              '--fill': `var(--fill-${tone})`,
            },
          }),
        ),
        h('span', { class: 'num' }, `${count(n)}, ${share(accepted ? n / accepted : null)}`),
      ),
    ),
  )
}

/** @type {(props: import('../connection.js').TabProps) => any} any: whatever preact draws */
export default function Delivery({ of, query }) {
  const period = usePeriod(query)
  const trends = useGet('trends', {
    connection: of.queue.connection,
    from: period.from,
    to: period.to,
  })
  return h(
    'div',
    null,
    h(PeriodChoice, { period }),
    h(Loading, {
      of: trends,
      what: 'the trends',
      children: (/** @type {Api.Trends} */ found) =>
        h(
          'div',
          null,
          h(Numbers, { trends: found, of }),
          h('h2', null, 'Funnel'),
          h(Funnel, { totals: found.totals }),
          h(
            'p',
            { class: 'soft' },
            'Waiting now: ',
            h(
              'a',
              { href: to(['connections', of.queue.connection, 'queue']) },
              plural(of.queue.depth, 'delivery', 'deliveries'),
            ),
            '.',
          ),
          h('h2', null, 'Delivery trends'),
          h(DeliveryTrend, { trends: found, period, latency: true, onBrush: choosePeriod }),
        ),
    }),
    h('h2', null, 'Delivery issues'),
    h(IssueList, { where: { connection: of.queue.connection } }),
  )
}
