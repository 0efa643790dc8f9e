// @ts-check
// What went wrong with one delivery, attempt by attempt, and how it was tried where a worker died
// with it. Reasons, requests and answers are strangers' text.
import { h } from '../../vendor.js'
import { mayAct } from '../../api.js'
import { to } from '../../routes.js'
import { Chip } from '../../ui/chip.js'
import { plural } from '../../ui/format.js'
import { Json, Text } from '../../ui/json.js'
import { AnswerView, RequestView } from '../../ui/sample.js'
import { Time } from '../../ui/time.js'

/** @type {Record<string, [string, import('../../ui/chip.js').Tone]>} */
const WORDS = {
  retry: ['to be tried again', 'warn'],
  suspected: ['worker died', 'bad'],
  tried: ['tried apart', 'quiet'],
  innocent: ['innocent', 'good'],
  released: ['given back', 'quiet'],
}

/** @param {{one: Api.Attempt, hasEvent: boolean}} props */
function Attempt({ one, hasEvent }) {
  const [text, tone] = WORDS[one.outcome] ?? [undefined, undefined]
  const said = h(Text, { text: one.reason ?? one.cause })
  return h(
    'li',
    null,
    h(
      'div',
      { class: 'bar' },
      h(Time, { at: one.at }),
      h('b', null, `Attempt ${one.attempt}`),
      h(Chip, { state: one.outcome, text, tone }),
      one.worker && h('span', { class: 'soft' }, 'in ', h(Text, { text: one.worker })),
    ),
    h(
      'p',
      null,
      one.issue ? h('a', { href: to(['issues', one.issue]) }, said) : said,
      one.exit && mayAct() && [' ', h('a', { href: to(['exits', one.exit]) }, 'Its death certificate')],
    ),
    (one.request || one.answer) &&
      h(
        'details',
        null,
        h('summary', null, 'What was sent and answered'),
        !hasEvent && one.body !== null && h(Json, { text: one.body, label: 'Event' }),
        h(
          'div',
          { class: 'split' },
          one.request && h(RequestView, { request: one.request }),
          one.answer && h(AnswerView, { answer: one.answer }),
        ),
      ),
  )
}

/** @param {{delivery: Api.Delivery, hasEvent: boolean}} props `hasEvent`: the page shows the event itself */
export function Attempts({ delivery: { connection, history }, hasEvent }) {
  if (history.length === 0) return null
  return h(
    'ol',
    { class: 'attempts', 'aria-label': `What went wrong on the way to ${connection}` },
    history.map(one => h(Attempt, { key: `${one.n} ${one.at}`, one, hasEvent })),
  )
}

/** Why there may be fewer than went wrong. @param {{found: Api.FoundEvent}} props */
export function KeptSince({ found: { attempts_since, attempts_forgotten, attempts_not_kept } }) {
  return h(
    'p',
    { class: 'soft' },
    attempts_not_kept === null
      ? [
          'Attempts that went wrong are kept in memory, since ',
          h(Time, { at: attempts_since }),
          attempts_forgotten > 0 && `; of all events ${plural(attempts_forgotten, 'record')} had to go`,
          '.',
        ]
      : `Attempts are not kept: ${attempts_not_kept}.`,
  )
}
