// @ts-check
// One sample: the event as it came, what was sent for it, and what was answered. All of it is
// strangers' text.
import { h } from '../vendor.js'
import { mayAct } from '../api.js'
import { to } from '../routes.js'
import { Chip } from './chip.js'
import { CopyButton } from './copy.js'
import { plural } from './format.js'
import { Json, Text } from './json.js'
import { size } from './meter.js'
import { Time } from './time.js'

/** @param {{headers: Record<string, string>}} props */
function Headers({ headers }) {
  const names = Object.entries(headers)
  if (names.length === 0) return null
  return h(
    'details',
    null,
    h('summary', null, plural(names.length, 'header')),
    h(
      'dl',
      { class: 'facts' },
      names.map(([name, value]) =>
        h('div', { key: name }, h('dt', null, h(Text, { text: name })), h('dd', null, h(Text, { text: value }))),
      ),
    ),
  )
}

/** @param {{request: Api.Request, label?: string}} props */
export function RequestView({ request, label = 'Request' }) {
  return h(
    'div',
    { class: 'card' },
    h('h3', null, label),
    h('p', { class: 'mono' }, h('b', null, request.method), ' ', h(Text, { text: request.url })),
    h(Headers, { headers: request.headers }),
    request.body === null
      ? h('p', { class: 'soft' }, 'No body.')
      : h(Json, { text: request.body, label: `${label}: body` }),
  )
}

/** @param {{answer: Api.Answer, label?: string}} props */
export function AnswerView({ answer, label = 'Answer' }) {
  return h(
    'div',
    { class: 'card' },
    h('h3', null, label),
    h(
      'p',
      null,
      h(Chip, {
        state: 'answer',
        tone: answer.status < 300 ? 'good' : answer.status < 500 ? 'bad' : 'warn',
        text: String(answer.status),
      }),
    ),
    h(Headers, { headers: answer.headers }),
    answer.body === null
      ? h('p', { class: 'soft' }, 'No body.')
      : h(Json, { text: answer.body, label: `${label}: body` }),
  )
}

/** @param {{sample: Api.Sample}} props */
export function SampleView({ sample }) {
  return h(
    'article',
    { class: 'sample' },
    h(
      'div',
      { class: 'bar' },
      h(Chip, { state: sample.outcome }),
      h('b', null, h(Text, { text: sample.name || sample.type })),
      h(Time, { at: sample.at }),
      // A viewer is told the shape of an id alone, by which nothing is found.
      sample.message_id !== null && mayAct()
        ? h('a', { href: to(['events', sample.message_id]) }, 'Event ', h(Text, { text: sample.message_id }))
        : h(Text, { text: sample.message_id, class: 'soft' }),
      h(
        'span',
        { class: 'soft' },
        [
          size(sample.size_bytes),
          sample.attempt !== null && `attempt ${sample.attempt}`,
          sample.worker !== null && `in ${sample.worker}`,
        ]
          .filter(Boolean)
          .join(', '),
      ),
      sample.body !== null && h(CopyButton, { text: sample.body, label: 'Copy the event' }),
    ),
    sample.reason !== null && h('p', { class: 'bad' }, h(Text, { text: sample.reason })),
    sample.body === null
      ? h('p', { class: 'soft' }, 'The event is not kept, or not for your role.')
      : h(Json, { text: sample.body, label: 'Event' }),
    (sample.request || sample.answer) &&
      h(
        'div',
        { class: 'split' },
        sample.request && h(RequestView, { request: sample.request }),
        sample.answer && h(AnswerView, { answer: sample.answer }),
      ),
  )
}
