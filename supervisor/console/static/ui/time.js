// @ts-check
// Moments, in local time or in UTC: one switch for the whole page, both in the tooltip.
import { h, signal, useEffect, useState } from '../vendor.js'
import { recall, remember } from './remember.js'
import { span } from './format.js'

/** "local" or "UTC". */
export const zone = signal(recall('zone') === 'UTC' ? 'UTC' : 'local')

/** Name of the local zone, as IANA has it. */
export const LOCAL = Intl.DateTimeFormat().resolvedOptions().timeZone

/** Local time becomes UTC, and back. */
export function switchZone() {
  zone.value = zone.value === 'UTC' ? 'local' : 'UTC'
  remember('zone', zone.value)
}

/** @type {(timeZone: string | undefined, parts: Intl.DateTimeFormatOptions) => Intl.DateTimeFormat} */
const format = (timeZone, parts) => new Intl.DateTimeFormat('en-GB', { ...parts, timeZone, hourCycle: 'h23' })
/** @type {Intl.DateTimeFormatOptions} */
const DAY = { day: '2-digit', month: 'short', year: 'numeric' }
/** @type {Intl.DateTimeFormatOptions} */
const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit' }
const FULL = { local: format(undefined, { ...DAY, ...CLOCK }), UTC: format('UTC', { ...DAY, ...CLOCK }) }
const TODAY = { local: format(undefined, CLOCK), UTC: format('UTC', CLOCK) }
const DATE = { local: format(undefined, DAY), UTC: format('UTC', DAY) }

/** @param {string | number} at RFC 3339, or epoch seconds */
export const moment = at => new Date(typeof at === 'number' ? at * 1000 : at)

/** @param {Date} date @returns {string} with the day where it is another one than today's */
export function clock(date) {
  const in_ = /** @type {'local' | 'UTC'} */ (zone.value)
  if (Number.isNaN(date.getTime())) return 'no time'
  const isToday = DATE[in_].format(date) === DATE[in_].format(new Date())
  return `${(isToday ? TODAY : FULL)[in_].format(date)}${in_ === 'UTC' ? ' UTC' : ''}`
}

/** @param {Date} date */
const both = date => `${FULL.local.format(date)} ${LOCAL}, ${FULL.UTC.format(date)} UTC`

/**
 * @param {{at: string | number | null | undefined, ago?: boolean}} props `ago`: how long ago, and not when
 */
export function Time({ at, ago = false }) {
  if (at === null || at === undefined) return h('span', null, '–')
  const date = moment(at)
  if (Number.isNaN(date.getTime())) return h('span', null, String(at))
  return h('time', { dateTime: date.toISOString(), title: both(date) }, ago ? h(Ago, { date }) : clock(date))
}

/** @param {{date: Date}} props */
function Ago({ date }) {
  const [now, tick] = useState(() => Date.now())
  useEffect(() => {
    const ticking = setInterval(() => {
      tick(Date.now())
    }, 10_000)
    return () => {
      clearInterval(ticking)
    }
  }, [])
  const s = (now - date.getTime()) / 1000
  // No finer than it is looked at.
  const step = s < 60 ? 10 : s < 3600 ? 60 : 3600
  return h('span', null, s < 10 ? 'just now' : `${span(step * Math.floor(s / step))} ago`)
}
