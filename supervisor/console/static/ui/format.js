// @ts-check
// Numbers, spans of time and shares in words that one reads at a glance.

const WHOLE = new Intl.NumberFormat('en')
const PART = new Intl.NumberFormat('en', { maximumFractionDigits: 1 })
const SHORT = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 })

/** @param {number | null | undefined} n */
export const count = n => (n === null || n === undefined ? '–' : WHOLE.format(n))

/** @param {number | null | undefined} n a second */
export const rate = n => (n === null || n === undefined ? '–' : `${SHORT.format(n)}/s`)

/** @param {number | null | undefined} part from 0 to 1 */
export function share(part) {
  if (part === null || part === undefined || Number.isNaN(part)) return '–'
  if (part > 0 && part < 0.001) return '< 0.1 %'
  return `${PART.format(100 * part)} %`
}

/**
 * @param {number | null | undefined} s seconds
 * @returns {string} two units at most: "3 min 20 s"
 */
export function span(s) {
  if (s === null || s === undefined) return '–'
  if (s < 1) return `${Math.round(1000 * s)} ms`
  if (s < 10) return `${s.toFixed(1)} s`
  if (s < 60) return `${Math.round(s)} s`
  if (s < 3600) return two(s, 60, 'min', 1, 's')
  if (s < 86400) return two(s, 3600, 'h', 60, 'min')
  return two(s, 86400, 'd', 3600, 'h')
}

/** @type {(s: number, much: number, more: string, little: number, less: string) => string} */
function two(s, much, more, little, less) {
  const whole = Math.floor(s / much),
    rest = Math.floor((s - whole * much) / little)
  return rest ? `${whole} ${more} ${rest} ${less}` : `${whole} ${more}`
}

/**
 * @param {number | null | undefined} n
 * @param {string} one such as "event"
 * @param {string} [many]
 */
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`
