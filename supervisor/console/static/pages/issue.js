// @ts-check
// One issue: what it means, what to do, and what it looked like.
import { h, useMemo } from '../vendor.js'
import { mayAct, path } from '../api.js'
import { to } from '../routes.js'
import { Chart } from '../ui/chart.js'
import { Chip } from '../ui/chip.js'
import { ConnectionName } from '../ui/colour.js'
import { count, plural } from '../ui/format.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Facts, Title } from '../ui/page.js'
import { SampleView } from '../ui/sample.js'
import { Time } from '../ui/time.js'
import { KINDS, lettersOf } from './issues.js'

/** Minutes with none are there, too. @param {Api.Points} minutes */
function filled(minutes) {
  const known = new Map(minutes),
    times = []
  const first = Math.min(...known.keys()),
    last = Math.max(...known.keys())
  for (let at = Math.max(first, last - 86400); at <= last; at += 60) times.push(at)
  return { times, values: times.map(at => known.get(at) ?? 0) }
}

/** @param {{minutes: Api.Points}} props */
function Minutes({ minutes }) {
  const { times, bars } = useMemo(() => {
    const { times, values } = filled(minutes)
    return { times, bars: [{ label: 'Times', tone: 'bad', values }] }
  }, [minutes])
  return h(Chart, {
    label: 'Times a minute',
    times,
    bars,
    step_s: 60,
    height: 140,
    barText: each => count(each === null ? null : Math.round(each)),
  })
}

/** @param {{issue: Api.IssueDetail}} props */
function Body({ issue }) {
  const letters = lettersOf(issue)
  return h(
    'div',
    null,
    h(
      'div',
      { class: 'bar' },
      h(Chip, { state: issue.kind, text: KINDS.find(([kind]) => kind === issue.kind)?.[1] }),
      h('span', null, issue.open ? 'open' : 'closed'),
      letters && h('a', { href: letters, class: 'button' }, mayAct() ? 'Replay these' : 'See the dead letters'),
    ),
    h(Facts, {
      label: 'The issue',
      rows: [
        [
          'Of',
          issue.connection
            ? h(ConnectionName, { name: issue.connection })
            : issue.source && h('a', { href: to(['sources', issue.source, 'overview']) }, issue.source),
        ],
        ['Seen', letters ? h('a', { href: letters }, plural(issue.count, 'time')) : plural(issue.count, 'time')],
        ['First', h(Time, { at: issue.first_seen })],
        ['Last', h(Time, { at: issue.last_seen })],
      ],
    }),
    h('h2', null, 'What it means'),
    h('p', null, issue.meaning),
    h('h2', null, 'What to do'),
    h('p', null, issue.action),
    issue.minutes.length > 0 && [h('h2', null, 'When'), h(Minutes, { minutes: issue.minutes })],
    h('h2', null, 'Samples'),
    issue.samples.length === 0
      ? h(Empty, null, 'No sample is kept.')
      : issue.samples.map(sample => h(SampleView, { key: `${sample.n} ${sample.at}`, sample })),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Issue({ params }) {
  const found = useGet(path('issues', params.id), {}, 15)
  const issue = /** @type {Api.IssueDetail | null} */ (found.value)
  return h(
    'div',
    null,
    h(Title, { title: issue?.cause ?? 'Issue', up: [[to(['issues']), 'Issues']] }),
    h(Loading, {
      of: found,
      what: 'the issue',
      children: (/** @type {Api.IssueDetail} */ now) => h(Body, { issue: now }),
    }),
  )
}
