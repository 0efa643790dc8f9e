// @ts-check
// One mark a connection, the same on every page and after every reload, since it comes from its name
// alone: two colours and a shape, so that few of those that one page shows are marked alike. A mark
// never says anything by itself: the name always stands beside it.
import { h } from '../vendor.js'

/** Hues that are told apart at this size: of the left side, and of the right one. */
const HUES = 15
/** Shapes that pages.css has, `shape-0` and so on. */
const SHAPES = 6

/**
 * A number of 32 bits, of which every bit depends on each letter.
 * @param {string} name
 */
function scattered(name) {
  // FNV-1a, and the last steps of MurmurHash3: names that differ at their end differ in all bits.
  let sum = 0x811c9dc5
  for (let at = 0; at < name.length; at++) sum = Math.imul(sum ^ name.charCodeAt(at), 0x01000193)
  sum = Math.imul(sum ^ (sum >>> 16), 0x85ebca6b)
  sum = Math.imul(sum ^ (sum >>> 13), 0xc2b2ae35)
  return (sum ^ (sum >>> 16)) >>> 0
}

/**
 * @param {string} name of a connection
 * @returns {{hue: number, second: number, shape: number}} hues from 0 to 360, and which shape
 */
export function markOf(name) {
  const which = scattered(name) % (HUES * HUES * SHAPES),
    turn = 360 / HUES
  return {
    hue: turn * (which % HUES),
    second: turn * (Math.floor(which / HUES) % HUES),
    shape: Math.floor(which / HUES / HUES),
  }
}

/**
 * A connection's mark, for those who see it; nothing for those who hear the page.
 * @param {{name: string}} props
 */
export function Dot({ name }) {
  const { hue, second, shape } = markOf(name)
  return h('span', {
    class: `dot shape-${shape}`,
    'aria-hidden': 'true',
    style: { '--hue': String(hue), '--second': String(second) },
  })
}

/**
 * A connection by its mark and its name, as a link to its page.
 * @param {{name: string}} props
 */
export function ConnectionName({ name }) {
  return h(
    'span',
    { class: 'named' },
    h(Dot, { name }),
    h('a', { href: `#/connections/${encodeURIComponent(name)}/delivery` }, name),
  )
}
