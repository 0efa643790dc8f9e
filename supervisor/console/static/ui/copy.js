// @ts-check
// A button that copies a text; also on plain HTTP, where browsers keep the clipboard to themselves.
import { h, useEffect, useState } from '../vendor.js'

/** @param {string} text @returns {Promise<boolean>} whether it was copied */
export async function copy(text) {
  if (navigator.clipboard && isSecureContext) {
    try {
      await navigator.clipboard.writeText(text)
      return true
    } catch {
      // Refused for this page: the old way may be allowed still.
    }
  }
  const before = /** @type {HTMLElement | null} */ (document.activeElement)
  const area = document.createElement('textarea')
  area.value = text
  area.className = 'unseen-field'
  // Inside an open dialog: what is outside of it can't be focused.
  const room = document.querySelector('dialog[open]') ?? document.body
  room.append(area)
  area.select()
  const isDone = document.execCommand('copy')
  area.remove()
  before?.focus()
  return isDone
}

/**
 * @param {{text: string | (() => string), label: string}} props
 */
export function CopyButton({ text, label }) {
  const [said, say] = useState('')
  useEffect(() => {
    if (!said) return undefined
    const ending = setTimeout(() => {
      say('')
    }, 3000)
    return () => {
      clearTimeout(ending)
    }
  }, [said])
  const onClick = async () => {
    say((await copy(typeof text === 'string' ? text : text())) ? 'Copied' : 'Could not copy: select it by hand')
  }
  return h(
    'span',
    { class: 'copy' },
    h('button', { type: 'button', onClick }, label),
    h('span', { role: 'status', class: 'soft' }, said),
  )
}
