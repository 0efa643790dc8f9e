// @ts-check
// The door: a token becomes a session. What was asked for is shown after it.
import { h, useEffect, useRef, useState } from '../vendor.js'
import { ApiError, isLockedOut, login } from '../api.js'
import { go, place } from '../routes.js'
import { expectFocus } from '../ui/page.js'

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Login() {
  const field = useRef(/** @type {HTMLInputElement | null} */ (null))
  const [problem, say] = useState(''),
    [isBusy, work] = useState(false)
  useEffect(() => {
    document.title = 'Log in · Bulkhead'
    field.current?.focus()
  }, [])
  const onSubmit = async (/** @type {Event} */ event) => {
    event.preventDefault()
    work(true)
    say('')
    try {
      await login(field.current?.value ?? '')
      expectFocus()
      if (place.value.names[0] === 'login') go('#/')
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      say(error.status === 401 ? 'That is no token of this service.' : error.message)
      field.current?.select()
    } finally {
      work(false)
    }
  }
  return h(
    'form',
    { class: 'login card', onSubmit, 'aria-labelledby': 'login-title' },
    h('h1', { id: 'login-title' }, 'Bulkhead'),
    isLockedOut.value && h('p', null, 'This service asks who you are.'),
    // Password managers keep a token under a name.
    h('input', {
      type: 'text',
      name: 'username',
      value: 'bulkhead',
      autoComplete: 'username',
      readOnly: true,
      hidden: true,
    }),
    h('label', { htmlFor: 'token' }, 'Token'),
    h('input', {
      id: 'token',
      ref: field,
      type: 'password',
      name: 'token',
      autoComplete: 'current-password',
      required: true,
      maxLength: 4096,
      'aria-describedby': 'token-hint',
      'aria-invalid': problem !== '',
      'aria-errormessage': 'login-problem',
    }),
    h(
      'p',
      { id: 'token-hint', class: 'soft' },
      'An operator’s (',
      h('code', null, 'admin.token'),
      ') or a viewer’s (',
      h('code', null, 'admin.view_token'),
      ').',
    ),
    h('p', { id: 'login-problem', role: 'alert', class: 'bad' }, problem),
    h('button', { type: 'submit', class: 'main', disabled: isBusy }, isBusy ? 'Logging in…' : 'Log in'),
  )
}
