// @ts-check
// Dialogs of the browser's own kind: it keeps the focus in them, Escape closes them, and the focus
// goes back to where it was.
import { h, useEffect, useId, useRef, useState } from '../vendor.js'
import { ApiError } from '../api.js'
import { Problem } from './load.js'

/**
 * Open while it is drawn.
 * @param {{title: string, onClose: () => void, children?: any, class?: string}} props any: whatever preact draws
 */
export function Dialog({ title, onClose, children, class: name = '' }) {
  const at = useRef(/** @type {HTMLDialogElement | null} */ (null)),
    id = useId()
  useEffect(() => {
    const dialog = at.current,
      before = /** @type {HTMLElement | null} */ (document.activeElement)
    dialog?.showModal()
    return () => {
      dialog?.close()
      const back = before?.isConnected && before !== document.body ? before : document.querySelector('h1')
      if (back instanceof HTMLElement) back.focus()
    }
  }, [])
  return h(
    'dialog',
    {
      ref: at,
      class: name,
      'aria-labelledby': id,
      onCancel: event => {
        event.preventDefault()
        onClose()
      },
    },
    h(
      'div',
      { class: 'bar dialog-head' },
      h('h2', { id }, title),
      h('button', { type: 'button', class: 'plain', 'aria-label': 'Close', onClick: onClose }, '✕'),
    ),
    children,
  )
}

/**
 * A button that asks before it acts, tells what comes of it, and says why where it did not go well.
 * @param {{label: string, title: string, children?: any, run: () => Promise<unknown>, confirm?: string,
 *   isDanger?: boolean, class?: string, onDone?: () => void}} props
 *   `children` say what will happen; `confirm` is the word on the button that does it. any: whatever
 *   preact draws
 */
export function AskButton({
  label,
  title,
  children,
  run,
  confirm = label,
  isDanger = false,
  class: name = '',
  onDone,
}) {
  const [isOpen, set] = useState(false),
    [isBusy, work] = useState(false)
  const [error, fail] = useState(/** @type {ApiError | null} */ (null))
  const close = () => {
    set(false)
    fail(null)
  }
  const act = async () => {
    work(true)
    fail(null)
    try {
      await run()
      close()
      onDone?.()
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught
      fail(caught)
    } finally {
      work(false)
    }
  }
  return h(
    'span',
    null,
    h(
      'button',
      {
        type: 'button',
        class: name,
        'aria-haspopup': 'dialog',
        onClick: () => {
          set(true)
        },
      },
      label,
    ),
    isOpen &&
      h(
        Dialog,
        { title, onClose: close },
        h('div', { class: 'dialog-text' }, children),
        h(Problem, { error }),
        h(
          'div',
          { class: 'bar end' },
          h('button', { type: 'button', onClick: close }, 'Not now'),
          h(
            'button',
            {
              type: 'button',
              class: isDanger ? 'danger' : 'main',
              disabled: isBusy,
              onClick: () => {
                void act()
              },
            },
            isBusy ? 'Working…' : confirm,
          ),
        ),
      ),
  )
}
