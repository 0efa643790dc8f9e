// @ts-check
// What every page opens with: its heading, which takes the focus when one came here by a link, its
// way up, and its tabs.
import { h, useEffect, useRef } from '../vendor.js'
import { Text } from './json.js'

let isFirst = true

/** The heading that comes next takes the focus: what had it is gone. */
export function expectFocus() {
  isFirst = false
}

/**
 * @param {{title: string, children?: any, up?: [string, string][]}} props `title` also names the
 *   browser's tab; `up` are the links above it, each an address and its words; `children` stand
 *   beside the title. any: whatever preact draws
 */
export function Title({ title, children, up = [] }) {
  const at = useRef(/** @type {HTMLHeadingElement | null} */ (null))
  useEffect(() => {
    document.title = `${title} · Bulkhead`
  }, [title])
  useEffect(() => {
    // Who opens the site reads from its top; who follows a link is told where it led.
    if (!isFirst) at.current?.focus()
    isFirst = false
  }, [])
  return h(
    'header',
    { class: 'page-title' },
    up.length > 0 &&
      h(
        'nav',
        { 'aria-label': 'Way up', class: 'way-up' },
        up.map(([link, words]) => h('a', { key: link, href: link }, words)),
      ),
    h('div', { class: 'bar' }, h('h1', { ref: at, tabIndex: -1 }, h(Text, { text: title })), children),
  )
}

/**
 * Parts of one subject, each with an address.
 * @param {{label: string, tabs: [string, string][], chosen: string, link: (tab: string) => string}} props
 *   each tab is its name in the address and its words
 */
export function Tabs({ label, tabs, chosen, link }) {
  return h(
    'nav',
    { 'aria-label': label, class: 'tabs' },
    tabs.map(([name, words]) =>
      h('a', { key: name, href: link(name), 'aria-current': name === chosen ? 'page' : undefined }, words),
    ),
  )
}

/**
 * One number, what it counts, and the link to that.
 * @param {{label: string, value: string, link?: string | null, tone?: string, note?: any}} props any: whatever preact draws
 */
export function Figure({ label, value, link, tone = '', note }) {
  return h(
    'div',
    { class: 'card figure' },
    h('dt', { class: 'soft' }, label),
    h(
      'dd',
      null,
      h('span', { class: `n ${tone}` }, link ? h('a', { href: link }, value) : value),
      note && h('span', { class: 'soft note' }, note),
    ),
  )
}

/** @param {{label: string, children?: any}} props any: whatever preact draws */
export const Figures = ({ label, children }) => h('dl', { class: 'cards', 'aria-label': label }, children)

/**
 * Names and values in two columns.
 * @param {{rows: [string, any][], label: string}} props any: whatever preact draws
 */
export function Facts({ rows, label }) {
  return h(
    'dl',
    { class: 'facts', 'aria-label': label },
    rows.map(([name, value]) => h('div', { key: name }, h('dt', null, name), h('dd', null, value))),
  )
}
