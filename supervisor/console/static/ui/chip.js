// @ts-check
// A state as a word with a sign before it. The sign's form says as much as its colour.
import { h } from '../vendor.js'

/** @typedef {'good' | 'warn' | 'bad' | 'quiet'} Tone */

/** @type {Record<Tone, string>} */
const SIGNS = { good: '✓', warn: '▲', bad: '✕', quiet: '•' }

/** @type {Record<string, Tone>} */
const TONES = {
  // A service, a pool, a worker.
  running: 'good',
  ready: 'good',
  idle: 'quiet',
  busy: 'good',
  starting: 'quiet',
  draining: 'warn',
  stopped: 'warn',
  degraded: 'warn',
  // A queue.
  open: 'good',
  throttled: 'warn',
  backing_off: 'warn',
  tripped: 'bad',
  paused: 'warn',
  disabled: 'quiet',
  // An event, a delivery, a job.
  taken: 'good',
  repeat: 'quiet',
  rejected: 'bad',
  retry: 'warn',
  failed: 'bad',
  quarantined: 'bad',
  delivered: 'good',
  unsupported: 'quiet',
  filtered: 'quiet',
  pending: 'quiet',
  done: 'good',
  cancelled: 'quiet',
  credentials: 'bad',
  // What needs somebody.
  page: 'bad',
  ticket: 'warn',
  notice: 'quiet',
}

/** @type {Record<string, string>} */
const WORDS = { backing_off: 'backing off', page: 'urgent' }

/** @param {string} state @returns {Tone} */
export const toneOf = state => TONES[state] ?? 'quiet'

/**
 * @param {{state: string, tone?: Tone, text?: string}} props `text` in place of the state's own word
 */
export function Chip({ state, tone = toneOf(state), text }) {
  return h(
    'span',
    { class: `chip ${tone}` },
    h('span', { 'aria-hidden': 'true', class: 'sign' }, SIGNS[tone]),
    text ?? WORDS[state] ?? state,
  )
}
