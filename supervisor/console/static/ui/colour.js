// @ts-check
// One colour a connection, the same on every page: a hue that comes from its name alone. A colour
// never says anything by itself: the name always stands beside it.
import { h } from '../vendor.js'

/**
 * @param {string} name of a connection, a class or whatever is told apart
 * @returns {number} a hue, 0 to 360
 */
export function hueOf(name) {
  let sum = 7
  for (const letter of name) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 3600
  return sum / 10
}

/**
 * A dot in a connection's colour, for those who see it; nothing for those who hear the page.
 * @param {{name: string}} props
 */
export function Dot({ name }) {
  return h('span', { class: 'dot', 'aria-hidden': 'true', style: { '--hue': String(hueOf(name)) } })
}

/**
 * A connection by its colour and its name, as a link to its page.
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
