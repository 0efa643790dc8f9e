// @ts-check
// A bar of how much of a limit is used, with a mark at the soft limit where there is one.
import { h } from '../vendor.js'

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

/**
 * @param {number | null | undefined} bytes may be below zero, where it is a change
 * @returns {string} at most one digit behind the point
 */
export function size(bytes) {
  if (bytes === null || bytes === undefined) return 'not known'
  if (bytes < 0) return '−' + size(-bytes)
  let unit = 0
  while (bytes >= 1024 && unit < UNITS.length - 1) {
    bytes /= 1024
    unit += 1
  }
  return `${unit === 0 || bytes >= 100 ? Math.round(bytes) : bytes.toFixed(1)} ${UNITS[unit]}`
}

/**
 * @param {{label: string, value: number, soft?: number | null, hard?: number | null, text?: string}} props
 *   `value`, `soft` and `hard` in one unit; `hard` null where nothing limits it, `text` in its place
 *   in words.
 */
export function Meter({ label, value, soft, hard, text }) {
  const whole = Math.max(1, hard ?? value)
  const share = Math.min(1, Math.max(0, value / whole))
  const tone = hard && value >= hard * 0.95 ? 'bad' : soft && value >= soft ? 'warn' : ''
  return h(
    'div',
    {
      class: `meter ${tone}`,
      role: 'meter',
      'aria-label': label,
      'aria-valuemin': 0,
      'aria-valuemax': whole,
      'aria-valuenow': Math.min(whole, Math.max(0, value)),
      'aria-valuetext': text ?? `${size(value)} of ${size(hard)}`,
    },
    h('div', { class: 'meter-fill', style: { width: `${100 * share}%` } }),
    soft && soft < whole ? h('div', { class: 'meter-mark', style: { left: `${(100 * soft) / whole}%` } }) : null,
  )
}

/**
 * A small curve of `[x, y]` points, drawn by hand: no axes, the newest at the right.
 * @param {{label: string, points: ReadonlyArray<readonly [number, number | null]>, top?: number | null}} props
 *   `top` is the value at the upper edge, else the largest. A null leaves a gap.
 */
export function Curve({ label, points, top }) {
  const known = points.filter(each => each[1] !== null)
  if (known.length < 2) return h('div', { class: 'curve soft' }, known.length ? 'one value so far' : 'no values yet')
  const xs = points.map(each => each[0]),
    least = Math.min(...xs),
    wide = Math.max(...xs) - least || 1
  const high = Math.max(1, top ?? 0, ...known.map(each => each[1] ?? 0))
  let path = '',
    isOn = false
  for (const [x, y] of points) {
    if (y === null) {
      isOn = false
      continue
    }
    path += `${isOn ? 'L' : 'M'}${((200 * (x - least)) / wide).toFixed(1)} ${(39 - (38 * y) / high).toFixed(1)}`
    isOn = true
  }
  return h(
    'svg',
    {
      class: 'curve',
      viewBox: '0 0 200 40',
      preserveAspectRatio: 'none',
      role: 'img',
      'aria-label': label,
    },
    h('path', { d: path }),
  )
}
