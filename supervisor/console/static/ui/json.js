// @ts-check
// JSON as it was sent: numbers with the digits that were written, members in their order and all of
// them, and characters that cannot be seen by their code. It takes the text apart itself, since
// JSON.parse would round numbers and lose members of one name. Texts are only ever text.
import { h, useState } from '../vendor.js'

/** @typedef {{kind: 'object', members: [string, Node][]} | {kind: 'array', items: Node[]} | {kind: 'string', text: string} | {kind: 'number' | 'word', text: string}} Node */

/** How deep it looks, and how many values in all; what is beyond is shown raw. */
const DEEPEST = 100,
  MOST = 20_000
/** How many members of one value are drawn before somebody asks for more. */
const STEP = 100
const TOKEN =
  /[\s]*([{}[\]:,]|"(?:[^"\\\u0000-\u001f]|\\.)*"|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)/y
// What changes how text around it is shown, or is not shown at all: control and format characters,
// separators of lines, lone halves of a pair, and blanks that are none of the keyboard's.
const UNSEEN =
  /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}\u00a0\u115f\u1160\u2000-\u200a\u202f\u205f\u2800\u3000\u3164\uffa0]/gu

/**
 * Text of a stranger, with what cannot be seen made visible by its code.
 * @param {string} text
 * @param {boolean} [isBlock] line feeds and tabs stay what they are
 */
export function visible(text, isBlock = false) {
  /** @type {any[]} */ // strings and elements
  const parts = []
  let from = 0
  for (const found of text.matchAll(UNSEEN)) {
    if (isBlock && (found[0] === '\n' || found[0] === '\t')) continue
    parts.push(text.slice(from, found.index))
    const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0')
    parts.push(h('span', { class: 'unseen', title: 'a character that is not seen' }, `U+${code}`))
    from = found.index + found[0].length
  }
  if (from === 0) return text
  parts.push(text.slice(from))
  return parts
}

/**
 * A stranger's text, kept from reordering the text around it.
 * @param {{text: string | null | undefined, class?: string}} props
 */
export function Text({ text, class: name }) {
  return h('bdi', { class: name }, visible(text ?? ''))
}

/**
 * @param {string} text
 * @returns {Node | null} null where it is no JSON, or more than is taken apart
 */
export function read(text) {
  let at = 0,
    count = 0
  const next = () => {
    TOKEN.lastIndex = at
    const found = TOKEN.exec(text)
    if (!found) throw new SyntaxError('no JSON')
    at = TOKEN.lastIndex
    return found[1]
  }
  /** @type {(token: string, depth: number) => Node} */
  const value = (token, depth) => {
    count += 1
    if (depth > DEEPEST || count > MOST) throw new RangeError('too much')
    if (token === '{') {
      /** @type {[string, Node][]} */
      const members = []
      let name = next()
      if (name === '}') return { kind: 'object', members }
      for (;;) {
        if (name[0] !== '"' || next() !== ':') throw new SyntaxError('no JSON')
        members.push([JSON.parse(name), value(next(), depth + 1)])
        const after = next()
        if (after === '}') return { kind: 'object', members }
        if (after !== ',') throw new SyntaxError('no JSON')
        name = next()
      }
    }
    if (token === '[') {
      /** @type {Node[]} */
      const items = []
      let first = next()
      if (first === ']') return { kind: 'array', items }
      for (;;) {
        items.push(value(first, depth + 1))
        const after = next()
        if (after === ']') return { kind: 'array', items }
        if (after !== ',') throw new SyntaxError('no JSON')
        first = next()
      }
    }
    if (token[0] === '"') return { kind: 'string', text: JSON.parse(token) }
    if (token === '}' || token === ']' || token === ':' || token === ',') throw new SyntaxError('no JSON')
    return { kind: token < 'a' ? 'number' : 'word', text: token }
  }
  try {
    const whole = value(next(), 0)
    return text.slice(at).trim() ? null : whole
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof RangeError) return null
    throw error
  }
}

/**
 * What a sender wrote under a name, at the top of an event; null where there is no such text.
 * @param {Node | null} node
 * @param {string} name
 */
export function textOf(node, name) {
  const found = node?.kind === 'object' ? node.members.find(each => each[0] === name)?.[1] : undefined
  return found?.kind === 'string' ? found.text : null
}

/**
 * The pretty view of a JSON text; the text itself where it is none.
 * @param {{text: string, label?: string}} props
 */
export function Json({ text, label = 'JSON' }) {
  const whole = read(text)
  return whole
    ? h('div', { class: 'json mono', role: 'group', 'aria-label': label }, h(Value, { node: whole, depth: 0 }))
    : h(Raw, { text, label })
}

/**
 * The text as it came, where it can be scrolled by keyboard.
 * @param {{text: string, label?: string}} props
 */
export function Raw({ text, label = 'text as it came' }) {
  return h('pre', { class: 'raw mono', tabIndex: 0, role: 'region', 'aria-label': label }, visible(text, true))
}

/** @param {{node: Node, depth: number, name?: any, tail?: string}} props `name` is drawn before it */
function Value({ node, depth, name, tail = '' }) {
  if (node.kind === 'string')
    return h(
      'div',
      { class: 'json-line' },
      name,
      h('bdi', { class: 'json-string' }, '"', visible(node.text), '"'),
      tail,
    )
  if (node.kind !== 'object' && node.kind !== 'array')
    return h('div', { class: 'json-line' }, name, h('span', { class: `json-${node.kind}` }, node.text), tail)
  return h(Folding, { node, depth, name, tail })
}

/** @param {{node: Node & {kind: 'object' | 'array'}, depth: number, name?: any, tail: string}} props */
function Folding({ node, depth, name, tail }) {
  const [isOpen, open] = useState(depth < 4)
  const [shown, more] = useState(STEP)
  const [start, end] = node.kind === 'object' ? '{}' : '[]'
  /** @type {[any, Node][]} */
  const parts =
    node.kind === 'object'
      ? node.members.map(([key, value]) => [h('bdi', { class: 'json-key' }, visible(key), ': '), value])
      : node.items.map(value => [null, value])
  if (!parts.length) return h('div', { class: 'json-line' }, name, start, end, tail)
  const count = `${parts.length} ${node.kind === 'object' ? 'member' : 'item'}${parts.length === 1 ? '' : 's'}`
  return h(
    'div',
    { class: 'json-fold' },
    h(
      'div',
      { class: 'json-line' },
      h(
        'button',
        {
          class: 'fold',
          type: 'button',
          'aria-expanded': String(isOpen),
          'aria-label': `${isOpen ? 'close' : 'open'}, ${count}`,
          onClick: () => open(!isOpen),
        },
        isOpen ? '▼' : '▶',
      ),
      name,
      start,
      isOpen ? null : h('span', { class: 'soft' }, ` ${count} `),
      isOpen ? null : end + tail,
    ),
    isOpen
      ? h(
          'div',
          { class: 'json-inside' },
          parts
            .slice(0, shown)
            .map(([key, value], n) =>
              h(Value, { node: value, depth: depth + 1, name: key, tail: n < parts.length - 1 ? ',' : '' }),
            ),
          parts.length > shown
            ? h('button', { type: 'button', onClick: () => more(shown + STEP * 10) }, `${parts.length - shown} more`)
            : null,
        )
      : null,
    isOpen ? h('div', { class: 'json-line' }, end, tail) : null,
  )
}
