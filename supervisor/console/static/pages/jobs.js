// @ts-check
// Replays and drops that were started, newest first.
import { h } from '../vendor.js'
import { to } from '../routes.js'
import { Chip } from '../ui/chip.js'
import { count } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'
import { WhereWords } from './deadletters/start.js'
import { KINDS } from './job.js'

/** @type {import('../ui/table.js').Column<Api.Job>[]} */
const COLUMNS = [
  { head: 'Job', class: 'fit', cell: job => KINDS[job.kind], link: job => to(['jobs', job.id]) },
  { head: 'State', class: 'fit', cell: job => h(Chip, { state: job.state }) },
  { head: 'Of', class: 'text', cell: job => h(WhereWords, { where: job.where }) },
  { head: 'Done', isNumber: true, cell: job => `${count(job.done)} of ${count(job.matched)}` },
  { head: 'Started', class: 'fit', cell: job => h(Time, { at: job.started_at }) },
  { head: 'By', cell: job => h(Text, { text: job.by }) },
]

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Jobs() {
  const found = useGet('jobs', {}, 5)
  return h(
    'div',
    null,
    h(Title, { title: 'Jobs', up: [[to(['deadletters']), 'Dead letters']] }),
    h(Loading, {
      of: found,
      what: 'jobs',
      children: (/** @type {{jobs: Api.Job[]}} */ { jobs }) =>
        jobs.length === 0
          ? h(Empty, null, 'No job was started.')
          : h(Table, { label: 'Jobs', columns: COLUMNS, rows: jobs, keyOf: (/** @type {Api.Job} */ job) => job.id }),
    }),
  )
}
