// @ts-check
// Tries one event against a connection, and shows what would be sent, or what was.
import { h, useEffect, useRef, useState } from '../../vendor.js'
import { ApiError, path, postText } from '../../api.js'
import { Chip } from '../../ui/chip.js'
import { Text } from '../../ui/json.js'
import { Problem, useGet } from '../../ui/load.js'
import { AnswerView, RequestView } from '../../ui/sample.js'
import { Choice } from '../../ui/search.js'

const EXAMPLE = `{
  "type": "track",
  "event": "Order Completed",
  "userId": "user-1",
  "messageId": "trial-1",
  "timestamp": "2026-01-31T13:00:00Z",
  "properties": {"order_id": "o-1", "total": 27.5}
}`

/** @param {string} text @returns {string} what is wrong with it, "" where it is a JSON object */
function wrong(text) {
  try {
    const value = JSON.parse(text)
    return value !== null && typeof value === 'object' && !Array.isArray(value)
      ? ''
      : 'An event is a JSON object: { … }.'
  } catch (error) {
    return `This is no JSON: ${error instanceof Error ? error.message : error}.`
  }
}

/**
 * @param {{source: string, wanted?: string, onTake: (text: string) => void}} props `wanted` is the
 *   message id of the one that the address asks for
 */
function FromSamples({ source, wanted, onTake }) {
  const tap = useGet(path('tap', source), { ring: 'taken' })
  const rows = /** @type {Api.Tap | null} */ (tap.value)?.rows.filter(row => row.body !== null) ?? []
  useEffect(() => {
    const asked = wanted && rows.find(row => row.message_id === wanted)?.body
    if (asked) onTake(asked)
  }, [wanted, tap.value])
  if (rows.length === 0) return null
  return h(Choice, {
    label: `Take one that ${source} received`,
    value: '',
    choices: [
      ['', 'Choose…'],
      ...rows
        .slice(-20)
        .map(
          row =>
            /** @type {[string, string]} */ ([
              String(row.n),
              `${row.type} ${row.name ?? ''} (${row.message_id})`.slice(0, 90),
            ]),
        ),
    ],
    onChoose: n => {
      const row = rows.find(each => String(each.n) === n)
      if (row?.body) onTake(row.body)
    },
  })
}

/** @param {{tried: Api.Tried}} props */
function Result({ tried }) {
  return h(
    'section',
    { 'aria-labelledby': 'tried' },
    h('h2', { id: 'tried' }, 'What came of it'),
    h('p', null, h(Chip, { state: tried.outcome }), ' ', h(Text, { text: tried.detail })),
    h(
      'p',
      { class: 'soft' },
      tried.live ? 'It was sent for real, and is in no book.' : 'Nothing was sent: answers are those of a stand-in.',
    ),
    tried.requests.length === 0 && h('p', null, 'No request was made.'),
    tried.requests.map((request, at) =>
      h(
        'div',
        { key: at, class: 'split' },
        h(RequestView, { request, label: `Request ${at + 1}` }),
        tried.answers[at] && h(AnswerView, { answer: tried.answers[at], label: `Answer ${at + 1}` }),
      ),
    ),
  )
}

/** @type {(props: import('../connection.js').TabProps) => any} any: whatever preact draws */
export default function Tester({ of: { queue }, query }) {
  const [text, type] = useState(EXAMPLE),
    [isLive, send] = useState(false),
    [isBusy, work] = useState(false)
  const [problem, say] = useState('')
  const [outcome, end] = useState(
    /** @type {{tried: Api.Tried | null, error: ApiError | null}} */ ({ tried: null, error: null }),
  )
  const field = useRef(/** @type {HTMLTextAreaElement | null} */ (null))
  const onSubmit = async (/** @type {Event} */ event) => {
    event.preventDefault()
    const found = wrong(text)
    say(found)
    if (found) {
      field.current?.focus()
      return
    }
    work(true)
    end({ tried: null, error: null })
    try {
      // As it was typed: numbers keep the digits that they have.
      end({
        tried: await postText(
          'try',
          `{"connection":${JSON.stringify(queue.connection)},"live":${isLive},"event":${text}}`,
        ),
        error: null,
      })
    } catch (error) {
      if (!(error instanceof ApiError)) throw error
      end({ tried: null, error })
    } finally {
      work(false)
    }
  }
  return h(
    'div',
    null,
    h(
      'form',
      { onSubmit },
      h('div', { class: 'bar filters' }, h(FromSamples, { source: queue.source, wanted: query.event, onTake: type })),
      h('label', { htmlFor: 'tester-event' }, 'Event'),
      h('textarea', {
        id: 'tester-event',
        ref: field,
        value: text,
        spellcheck: false,
        'aria-invalid': problem !== '',
        'aria-errormessage': 'tester-problem',
        onInput: (/** @type {{currentTarget: HTMLTextAreaElement}} */ event) => {
          type(event.currentTarget.value)
        },
      }),
      h('p', { id: 'tester-problem', role: 'alert', class: 'bad' }, problem),
      h(
        'label',
        { class: 'check' },
        h('input', {
          type: 'checkbox',
          checked: isLive,
          onChange: () => {
            send(!isLive)
          },
        }),
        'Send it for real, with this connection’s credentials',
      ),
      isLive &&
        h(
          'p',
          { class: 'warn' },
          `The partner will take it for a true event. It keeps ${queue.connection}’s rate limit, pause and breaker, is in no book, and stands in Activity.`,
        ),
      h(
        'button',
        { type: 'submit', class: isLive ? 'danger' : 'main', disabled: isBusy },
        isBusy ? 'Trying…' : isLive ? 'Send it' : 'Try it',
      ),
    ),
    h(
      'div',
      { 'aria-live': 'polite' },
      h(Problem, { error: outcome.error }),
      outcome.tried && h(Result, { tried: outcome.tried }),
    ),
  )
}
