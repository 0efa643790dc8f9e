// @ts-check
// One dead letter with its event.
import { h, useEffect, useState } from '../vendor.js'
import { ApiError, getText, mayAct, path } from '../api.js'
import { to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName } from '../ui/colour.js'
import { CopyButton } from '../ui/copy.js'
import { count } from '../ui/format.js'
import { Json, Text } from '../ui/json.js'
import { Loading } from '../ui/load.js'
import { Facts, Title } from '../ui/page.js'
import { Time } from '../ui/time.js'
import { JobButton } from './deadletters/start.js'

const KEY = '"event":'

/**
 * The event as it stands in the answer, whose last member it is: JSON.parse would round its numbers.
 * A quote within a text is escaped, so that the first `"event":` is the member's name.
 * @param {string} text of the answer
 */
function eventOf(text) {
  const at = text.indexOf(KEY)
  return at < 0 ? null : text.slice(at + KEY.length, text.lastIndexOf('}')).trim()
}

/** @param {{letter: Api.Letter, event: string | null}} props */
function Body({ letter, event }) {
  return h(
    'div',
    null,
    mayAct() &&
      h(
        'div',
        { class: 'bar' },
        ...['replay', 'drop'].map(kind =>
          h(JobButton, {
            key: kind,
            kind: /** @type {'replay' | 'drop'} */ (kind),
            where: { ids: [letter.id] },
            name: letter.connection,
          }),
        ),
      ),
    h(Facts, {
      label: 'The dead letter',
      rows: [
        ['Connection', h(ConnectionName, { name: letter.connection })],
        ['Outcome', h(Chip, { state: letter.outcome })],
        ['Reason', h(Text, { text: letter.reason })],
        ['Attempts', count(letter.attempts)],
        ['First', h(Time, { at: letter.first_at })],
        ['Last', h(Time, { at: letter.last_at })],
        ['Event', h('a', { href: to(['events', letter.message_id]) }, h(Text, { text: letter.message_id }))],
        ['Exit', letter.exit ? h('a', { href: to(['exits', letter.exit]) }, 'that of its worker') : 'none'],
      ],
    }),
    h('h2', null, 'Its event'),
    event === null
      ? h('p', { class: 'soft' }, 'It is not held any more, or not for your role.')
      : h('div', null, h(CopyButton, { text: event, label: 'Copy' }), h(Json, { text: event, label: 'Event' })),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Letter({ params }) {
  const [found, take] = useState(
    /** @type {{value: {letter: Api.Letter, event: string | null} | null, error: ApiError | null}} */ ({
      value: null,
      error: null,
    }),
  )
  useEffect(() => {
    const stop = new AbortController()
    getText(path('deadletters', params.id), {}, stop.signal).then(
      text => {
        take({ value: { letter: JSON.parse(text), event: eventOf(text) }, error: null })
      },
      error => {
        if (stop.signal.aborted) return
        if (!(error instanceof ApiError)) throw error
        take({ value: null, error })
      },
    )
    return () => {
      stop.abort()
    }
  }, [params.id])
  return h(
    'div',
    null,
    h(Title, { title: 'Dead letter', up: [[to(['deadletters']), 'Dead letters']] }),
    h(Loading, {
      of: found,
      what: 'the dead letter',
      children: (/** @type {{letter: Api.Letter, event: string | null}} */ now) => h(Body, now),
    }),
  )
}
