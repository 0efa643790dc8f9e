// @ts-check
// A field to search with: what is typed counts after a moment, or at once with Enter.
import { h, useEffect, useId, useRef, useState } from '../vendor.js'
import { setQuery } from '../routes.js'

const MOMENT_MS = 250

/**
 * @param {{label: string, value: string, onSearch: (text: string) => void, hint?: string, id?: string, suggestions?: string[]}} props
 *   `value` is what is searched for now; the field follows it when it changes elsewhere.
 */
export function Search({ label, value, onSearch, hint, id, suggestions }) {
  const made = useId(),
    field = id ?? made
  const [text, type] = useState(value),
    sent = useRef(value)
  useEffect(() => {
    if (value === sent.current) return
    sent.current = value
    type(value)
  }, [value])
  const send = (/** @type {string} */ what) => {
    if (what === sent.current) return
    sent.current = what
    onSearch(what)
  }
  useEffect(() => {
    const waiting = setTimeout(() => {
      send(text)
    }, MOMENT_MS)
    return () => {
      clearTimeout(waiting)
    }
  }, [text])
  return h(
    'div',
    { class: 'field search' },
    h('label', { htmlFor: field }, label),
    h('input', {
      id: field,
      type: 'search',
      value: text,
      autoComplete: 'off',
      spellcheck: false,
      maxLength: 500,
      list: suggestions && `${field}-list`,
      'aria-describedby': hint && `${field}-hint`,
      onInput: event => {
        type(event.currentTarget.value)
      },
      onKeyDown: event => {
        if (event.key === 'Enter') send(text)
      },
    }),
    suggestions &&
      h(
        'datalist',
        { id: `${field}-list` },
        suggestions.map(each => h('option', { key: each, value: each })),
      ),
    hint && h('span', { id: `${field}-hint`, class: 'soft' }, hint),
  )
}

/**
 * A bar with one such field alone, whose text stands in the address as `q`.
 * @param {{label: string, q: string | undefined}} props
 */
export const SearchBar = ({ label, q = '' }) =>
  h(
    'div',
    { class: 'bar filters' },
    h(Search, {
      label,
      value: q,
      onSearch: text => {
        setQuery({ q: text }, false)
      },
    }),
  )

/**
 * A choice of one among few, as a labelled list.
 * @param {{label: string, value: string, choices: [string, string][], onChoose: (value: string) => void}} props
 *   each choice is a value and its words
 */
export function Choice({ label, value, choices, onChoose }) {
  const id = useId()
  return h(
    'div',
    { class: 'field' },
    h('label', { htmlFor: id }, label),
    h(
      'select',
      {
        id,
        value,
        onChange: (/** @type {{currentTarget: HTMLSelectElement}} */ event) => {
          onChoose(event.currentTarget.value)
        },
      },
      choices.map(([one, words]) => h('option', { key: one, value: one, selected: one === value }, words)),
    ),
  )
}
