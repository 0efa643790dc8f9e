// @ts-check
// One job: how far it is, what is left, and its end. Its address holds after a reload.
import { h } from '../vendor.js'
import { del, mayAct, path } from '../api.js'
import { useLook } from '../live.js'
import { to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { AskButton } from '../ui/dialog.js'
import { count, plural, rate, span } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Loading } from '../ui/load.js'
import { Facts, Title } from '../ui/page.js'
import { moment, Time } from '../ui/time.js'
import { WhereWords } from './deadletters/start.js'

/** @type {Record<Api.Job['kind'], string>} */
export const KINDS = { replay: 'Replay', drop: 'Drop' }

/** @param {Api.Job} job @returns {string} */
function said(job) {
  if (job.state === 'done')
    return `${plural(job.done, 'dead letter')} done${job.not_done ? `, ${count(job.not_done)} not: they were gone, or changed meanwhile` : ''}.`
  if (job.state === 'cancelled') return `Cancelled after ${plural(job.done, 'dead letter')}. What was done stays done.`
  if (job.state === 'failed') return `It broke off after ${plural(job.done, 'dead letter')}. What was done stays done.`
  if (job.matched === null) return 'Counting…'
  return `${count(job.done)} of ${count(job.matched)} done.`
}

/** How long what is left takes at the pace so far, in seconds; null while that is not known. @param {Api.Job} job */
function left(job) {
  if (job.state !== 'running' || job.matched === null || job.done === 0) return null
  const past = (Date.now() - moment(job.started_at).getTime()) / 1000
  return past > 1 ? ((job.matched - job.done) * past) / job.done : null
}

/** @param {{job: Api.Job}} props */
function Body({ job }) {
  const most = job.matched ?? 0,
    rest = left(job)
  return h(
    'div',
    null,
    h(
      'p',
      null,
      h(Chip, { state: job.state }),
      ' ',
      h('span', { role: 'status' }, said(job)),
      rest !== null && h('span', { class: 'soft' }, ` About ${span(rest)} more.`),
    ),
    h('progress', {
      max: Math.max(1, most),
      value: job.state === 'done' ? Math.max(1, most) : job.done,
      'aria-label': 'How far it is',
    }),
    job.error !== null && h('p', { class: 'bad', role: 'alert' }, h(Text, { text: job.error })),
    h(Facts, {
      label: 'The job',
      rows: [
        ['Chosen', h(WhereWords, { where: job.where })],
        ['Pace', job.per_s === null ? 'as fast as it goes' : `at most ${rate(job.per_s)}`],
        ['Matched', job.matched === null ? 'not counted yet' : count(job.matched)],
        ['Done', count(job.done)],
        ['Not done', count(job.not_done)],
        ['Started', h(Time, { at: job.started_at })],
        ['Ended', h(Time, { at: job.ended_at })],
        ['By', h(Text, { text: job.by })],
      ],
    }),
    job.state !== 'running' &&
      !job.where.ids &&
      h(
        'p',
        null,
        h('a', { href: to(['deadletters'], /** @type {Record<string, string>} */ (job.where)) }, 'What matches now'),
      ),
    job.state === 'running' &&
      mayAct() &&
      h(AskButton, {
        label: 'Cancel the job',
        title: 'Cancel the job?',
        confirm: 'Cancel it',
        isDanger: true,
        run: () => del(path('jobs', job.id)),
        children: h('p', null, 'It stops after what it is about now. What is done stays done.'),
      }),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Job({ params }) {
  const look = useLook(`job:${params.id}`),
    job = /** @type {Api.Job | null} */ (look.value)
  return h(
    'div',
    null,
    h(Title, {
      title: job ? `${KINDS[job.kind]} of dead letters` : 'Job',
      up: [
        [to(['deadletters']), 'Dead letters'],
        [to(['jobs']), 'Jobs'],
      ],
    }),
    h(Loading, { of: look, what: 'the job', children: (/** @type {Api.Job} */ now) => h(Body, { job: now }) }),
  )
}
