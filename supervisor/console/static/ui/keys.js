// @ts-check
// Keys: one list, which "?" shows. They hold where nobody types, and can be turned off, since a
// voice that dictates presses keys, too.
import { h, signal, useEffect, useState } from '../vendor.js'
import { Dialog } from './dialog.js'
import { recall, remember } from './remember.js'

/** @typedef {{keys: string, what: string, run: () => void}} Key `keys` is one key, or two with a blank between */

/** @type {Key[]} */
const known = []
/** Whether the list is shown. */
export const isHelpOpen = signal(false)
const areOn = signal(recall('keys') !== 'off')
/** How long the second key of two is waited for. */
const SECOND_MS = 1200
let before = '',
  beforeAt = 0

/** @param {Key[]} keys @returns {() => void} takes them out again */
export function addKeys(keys) {
  known.push(...keys)
  return () => {
    for (const key of keys) known.splice(known.indexOf(key), 1)
  }
}

/**
 * Keys of a page, as long as it is shown.
 * @param {Key[]} keys
 */
export function useKeys(keys) {
  useEffect(() => addKeys(keys), [])
}

/** @param {KeyboardEvent} event */
function isElsewhere(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || event.isComposing) return true
  const at = event.target
  if (!(at instanceof HTMLElement)) return false
  if (at.isContentEditable || at.matches('input, textarea, select')) return true
  // What the key does to the thing that has the focus comes first.
  if (event.key === ' ' && at.matches('button, a, summary, [role=option]')) return true
  return document.querySelector('dialog[open]') !== null
}

addEventListener('keydown', event => {
  if (!areOn.value || isElsewhere(event)) return
  const pair = event.timeStamp - beforeAt < SECOND_MS ? `${before} ${event.key}` : ''
  const found = known.findLast(each => each.keys === pair) ?? known.findLast(each => each.keys === event.key)
  before = found ? '' : event.key
  beforeAt = event.timeStamp
  if (!found) return
  event.preventDefault()
  found.run()
})

/** @param {{keys: string}} props */
const Shown = ({ keys }) =>
  h(
    'span',
    null,
    keys.split(' ').map((key, at) => [at > 0 && ' then ', h('kbd', null, key === '' ? 'space' : key)]),
  )

/** The list of keys, with the switch that turns them off. */
export function KeysHelp() {
  const [isOn, turn] = useState(areOn.value)
  if (!isHelpOpen.value) return null
  const close = () => {
    isHelpOpen.value = false
  }
  const onChange = () => {
    areOn.value = !areOn.value
    remember('keys', areOn.value ? 'on' : 'off')
    turn(areOn.value)
  }
  return h(
    Dialog,
    { title: 'Keys', onClose: close },
    h(
      'table',
      { class: 'keys' },
      h('thead', null, h('tr', null, h('th', { scope: 'col' }, 'Key'), h('th', { scope: 'col' }, 'What it does'))),
      h(
        'tbody',
        null,
        known.map(key =>
          h(
            'tr',
            { key: key.keys },
            h('td', null, key.keys === ' ' ? h('kbd', null, 'space') : h(Shown, { keys: key.keys })),
            h('td', null, key.what),
          ),
        ),
        h(
          'tr',
          null,
          h('td', null, h('kbd', null, '↑'), ' ', h('kbd', null, '↓')),
          h('td', null, 'In a table: the row before, the next'),
        ),
        h('tr', null, h('td', null, h('kbd', null, 'Esc')), h('td', null, 'Close a dialog')),
      ),
    ),
    h('label', { class: 'check' }, h('input', { type: 'checkbox', checked: isOn, onChange }), 'Keys are on'),
  )
}
