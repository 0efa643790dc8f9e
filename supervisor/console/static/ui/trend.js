// @ts-check
// Delivery over time, as Overview and a connection's page draw it.
import { h, useMemo } from '../vendor.js'
import { Chart } from './chart.js'
import { count, span } from './format.js'
import { Empty } from './load.js'
import { Time } from './time.js'

/** @type {[string, string, string][]} */
const BARS = [
  ['delivered_first_try', 'Delivered on first try', 'good'],
  ['delivered_on_retry', 'Delivered on retry', 'retry'],
  ['unsupported', 'Unsupported', 'edge'],
  ['filtered', 'Filtered', 'line'],
  ['quarantined', 'Quarantined', 'warn'],
  ['failed', 'Failed', 'bad'],
]
/** @type {[string, string, string, number[]][]} */
const LINES = [
  ['p50_s', 'P50', 'soft', [2, 4]],
  ['p95_s', 'P95', 'text', []],
  ['p99_s', 'P99', 'accent', [8, 4]],
]

/**
 * @param {{trends: Api.Trends, period: {from: number, to: number}, onBrush?: (from: number, to: number) => void, latency?: boolean}} props
 *   `latency`: lines of it, too; `onBrush`: a period was chosen by drawing over it
 */
export function DeliveryTrend({ trends, period, onBrush, latency = false }) {
  const { columns, times } = trends
  const bars = useMemo(
    () => BARS.filter(([key]) => columns[key]).map(([key, label, tone]) => ({ label, tone, values: columns[key] })),
    [trends],
  )
  const lines = useMemo(
    () =>
      (latency ? LINES.filter(([key]) => columns[key]?.some(each => each !== null)) : []).map(
        ([key, label, tone, dash]) => ({ label, tone, dash, values: columns[key] }),
      ),
    [trends, latency],
  )
  if (times.length === 0) return h(Empty, null, 'Nothing was counted in this time.')
  return h(
    'div',
    null,
    h(Chart, {
      label: `Deliveries in ${span(trends.step_s)}`,
      times,
      bars,
      lines,
      restart: trends.restart,
      step_s: trends.step_s,
      period,
      onBrush,
      barText: each => count(each === null ? null : Math.round(each)),
      lineText: span,
    }),
    trends.reaches_back_to !== null &&
      trends.reaches_back_to > period.from &&
      h('p', { class: 'soft' }, 'Counts reach back to ', h(Time, { at: trends.reaches_back_to }), '.'),
  )
}
