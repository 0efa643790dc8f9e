// @ts-check
// One object of a heap, opened as far as one likes: what it refers to, who holds it, what it alone
// keeps alive, and the way to it from a root.
import { h, useState } from '../vendor.js'
import { mayAct, path } from '../api.js'
import { to } from '../routes.js'
import { CopyButton } from '../ui/copy.js'
import { count, plural } from '../ui/format.js'
import { Text, visible } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { size } from '../ui/meter.js'
import { Facts, Title } from '../ui/page.js'
import { Objects, objectLink } from './heap.js'

/** How many edges are asked for at first, and at most. */
const FIRST = 50,
  MOST = 1000
/** How deep the tree is opened: what is deeper has a page of its own. */
const DEEPEST = 12

/** What an object is called: the class, and its name where it has one of its own. @param {Api.HeapObject} object */
const called = object => (object.name && object.name !== object.type ? object.name : object.type)

/** @param {string} name @param {number | string} id @param {number} edges @param {number} [rest] holders and dominated */
const ask = (name, id, edges, rest = 0) =>
  useGet(path('debug', 'snapshots', name, 'objects', id), { edges, holders: rest, dominated: rest })

/** @param {{name: string, label: string, object: Api.HeapObject, depth: number}} props */
function Branch({ name, label, object, depth }) {
  const [isOpen, open] = useState(false),
    isDeep = depth >= DEEPEST
  return h(
    'li',
    null,
    h(
      'div',
      { class: 'edge' },
      isDeep
        ? h('span', { 'aria-hidden': 'true' }, '·')
        : h(
            'button',
            {
              class: 'fold',
              type: 'button',
              'aria-expanded': isOpen,
              'aria-label': `${isOpen ? 'close' : 'open'} ${label}`,
              onClick: () => {
                open(!isOpen)
              },
            },
            isOpen ? '▼' : '▶',
          ),
      h('bdi', { class: 'edge-label' }, visible(label)),
      h('a', { href: objectLink(name, object.id) }, visible(called(object)), ` @${object.id}`),
      h('span', { class: 'soft' }, `${size(object.size_bytes)}, keeps ${size(object.kept_bytes)}`),
    ),
    isOpen && h(Edges, { name, id: object.id, depth: depth + 1 }),
  )
}

/** @param {{name: string, id: number | string, depth: number}} props */
function Edges({ name, id, depth }) {
  const [edges, more] = useState(FIRST),
    found = ask(name, id, edges)
  return h(Loading, {
    of: found,
    what: 'what it refers to',
    children: (/** @type {Api.HeapPage} */ page) =>
      page.edges_total === 0
        ? h('p', { class: 'soft edge' }, 'It refers to nothing.')
        : h(
            'div',
            null,
            h(
              'ul',
              { class: 'tree' },
              page.edges.map((edge, at) =>
                h(Branch, {
                  key: `${edge.label} ${edge.to.id} ${at}`,
                  name,
                  label: edge.label,
                  object: edge.to,
                  depth,
                }),
              ),
            ),
            page.edges_total > page.edges.length &&
              (edges < MOST
                ? h(
                    'button',
                    {
                      type: 'button',
                      onClick: () => {
                        more(MOST)
                      },
                    },
                    `${count(page.edges_total - page.edges.length)} more, each keeps less`,
                  )
                : h(
                    'p',
                    { class: 'soft' },
                    `${count(page.edges_total - page.edges.length)} more, each keeps less; find them by name.`,
                  )),
          ),
  })
}

/** Steps as Python writes them, from the last module on. @param {Api.HeapStep[]} steps */
function pythonOf(steps) {
  return steps.reduce((text, { label, name }, at) => {
    if (name.startsWith('module ')) return name.slice('module '.length)
    if (!label || label === '__dict__' || at === 0) return text
    const inside = /^\['(\w+)'\]$/.exec(label)
    if (steps[at - 1].label === '__dict__' && inside) return `${text}.${inside[1]}`
    if (!text) return label
    return label.startsWith('[') ? text + label : `${text}.${label}`
  }, '')
}

/** @param {{name: string, page: Api.HeapPage}} props */
function Path({ name, page }) {
  const python = pythonOf(page.path)
  return h(
    'div',
    null,
    python &&
      h(
        'p',
        { class: 'bar' },
        h('code', { class: 'path' }, h(Text, { text: python })),
        h(CopyButton, { label: 'Copy the path', text: python }),
      ),
    h(
      'ol',
      { class: 'steps' },
      page.path.map((step, at) =>
        h(
          'li',
          { key: `${at} ${step.id}` },
          step.label && h('bdi', { class: 'edge-label' }, visible(step.label)),
          h(
            'a',
            { href: objectLink(name, step.id), 'aria-current': step.id === page.id ? 'true' : undefined },
            visible(step.name || step.type),
            ` @${step.id}`,
          ),
        ),
      ),
    ),
    (page.path_left_out ?? 0) > 0 &&
      h('p', { class: 'soft' }, `${plural(page.path_left_out, 'step')} in the middle left out.`),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function ObjectPage({ params: { name, id } }) {
  const found = ask(name, id, FIRST, FIRST)
  const up = /** @type {[string, string][]} */ ([
    [to(['heaps']), 'Heaps'],
    [to(['heaps', name]), 'This heap'],
    [objectLink(name, 'root'), 'Its root'],
  ])
  const page = /** @type {Api.HeapPage | null} */ (found.value)
  if (!mayAct())
    return h('div', null, h(Title, { title: 'Object', up }), h(Empty, null, 'What a heap holds is for operators.'))
  return h(
    'div',
    null,
    h(Title, { title: page ? `${called(page)} @${page.id}` : `Object @${id}`, up }),
    h(Loading, {
      of: found,
      what: 'the object; the first question reads the snapshot',
      children: (/** @type {Api.HeapPage} */ object) =>
        h(
          'div',
          null,
          h(Facts, {
            label: 'The object',
            rows: [
              ['Class', h(Text, { text: object.type })],
              ['Own size', size(object.size_bytes)],
              ['Keeps alive', size(object.kept_bytes)],
            ],
          }),
          h('h2', null, 'The way to it'),
          h(Path, { name, page: object }),
          h('h2', null, `▼ ${called(object)} refers to ${count(object.edges_total)}`),
          h('div', { class: 'card objects' }, h(Edges, { name, id, depth: 0 })),
          h('h2', null, `Held by ${count(object.holders_total)}`),
          object.holders.length === 0
            ? h(Empty, null, 'Nobody: it is a root.')
            : h(
                'ul',
                { class: 'tree card' },
                object.holders.map((each, at) =>
                  h(
                    'li',
                    { key: `${each.from.id} ${at}`, class: 'edge' },
                    h('a', { href: objectLink(name, each.from.id) }, visible(called(each.from)), ` @${each.from.id}`),
                    ' by ',
                    h('bdi', { class: 'edge-label' }, visible(each.label)),
                    h('span', { class: 'soft' }, ` keeps ${size(each.from.kept_bytes)}`),
                  ),
                ),
              ),
          object.holders_total > object.holders.length &&
            h('p', { class: 'soft' }, `${count(object.holders_total - object.holders.length)} more.`),
          h('h2', null, `It alone keeps alive ${count(object.dominated_total)}`),
          object.dominated.length === 0
            ? h(Empty, null, 'Nothing but itself.')
            : h(Objects, { name, label: 'Kept alive by it', objects: object.dominated }),
          object.dominated_total > object.dominated.length &&
            h(
              'p',
              { class: 'soft' },
              `${count(object.dominated_total - object.dominated.length)} more, each keeps less.`,
            ),
        ),
    }),
  )
}
