// @ts-check
// The period that a page is about: in its address, so that a link shows what one saw.
import { h, useEffect, useState } from '../vendor.js'
import { setQuery } from '../routes.js'
import { Choice } from './search.js'
import { Time } from './time.js'

/** @type {[string, string, number][]} */
const LASTS = [
  ['1h', 'The last hour', 3600],
  ['6h', 'The last 6 hours', 6 * 3600],
  ['24h', 'The last day', 86400],
  ['7d', 'The last week', 7 * 86400],
  ['90d', 'The last 90 days', 90 * 86400],
]

/** @typedef {{from: number, to: number, last: string | null}} Period epoch seconds; `last` is its name where it goes along with the clock */

/** Epoch seconds of this minute's end; it goes on. */
function useMinute() {
  const now = () => 60 * Math.ceil(Date.now() / 60_000)
  const [minute, tick] = useState(now)
  useEffect(() => {
    const ticking = setInterval(() => {
      tick(now())
    }, 5_000)
    return () => {
      clearInterval(ticking)
    }
  }, [])
  return minute
}

/** @param {Record<string, string>} query of the address @returns {Period} */
export function usePeriod(query) {
  const minute = useMinute()
  const from = Number(query.from),
    to = Number(query.to)
  if (query.from && query.to && from < to) return { from, to, last: null }
  const [name, , long] = LASTS.find(([each]) => each === query.last) ?? LASTS[0]
  return { from: minute - long, to: minute, last: name }
}

/** Shows from here to there. @param {number} from @param {number} to epoch seconds */
export function choosePeriod(from, to) {
  // A minute at least: nothing is counted finer.
  const start = 60 * Math.floor(from / 60)
  setQuery({ from: start, to: Math.max(start + 60, 60 * Math.ceil(to / 60)), last: null })
}

/** @param {{period: Period}} props */
export function PeriodChoice({ period }) {
  const { from, to, last } = period,
    long = to - from
  const onChoose = (/** @type {string} */ name) => {
    if (name !== 'own') setQuery({ last: name, from: null, to: null })
  }
  const own = /** @type {[string, string][]} */ (last === null ? [['own', 'As chosen']] : [])
  return h(
    'div',
    { class: 'bar filters' },
    h(Choice, {
      label: 'Period',
      value: last ?? 'own',
      onChoose,
      choices: [...own, ...LASTS.map(([name, words]) => /** @type {[string, string]} */ ([name, words]))],
    }),
    h(
      'button',
      {
        type: 'button',
        onClick: () => {
          choosePeriod(from - long / 2, to - long / 2)
        },
      },
      'Earlier',
    ),
    h(
      'button',
      {
        type: 'button',
        disabled: last !== null,
        onClick: () => {
          choosePeriod(from + long / 2, to + long / 2)
        },
      },
      'Later',
    ),
    h(
      'button',
      {
        type: 'button',
        disabled: long < 240,
        onClick: () => {
          choosePeriod(from + long / 4, to - long / 4)
        },
      },
      'Closer',
    ),
    h(
      'span',
      { class: 'soft' },
      h(Time, { at: from }),
      ' to ',
      h(Time, { at: to }),
      '. Draw over the chart to look closer.',
    ),
  )
}
