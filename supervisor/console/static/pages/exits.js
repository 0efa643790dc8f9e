// @ts-check
// How workers ended, newest first.
import { h } from '../vendor.js'
import { setQuery, to } from '../routes.js'
import { Loading, useGet } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Choice, Search } from '../ui/search.js'
import { ExitTable } from './pools.js'

const REASONS = ['crash', 'signal', 'oom', 'leak', 'limit', 'timeout', 'protocol', 'egress', 'recycle', 'drain']

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Exits({ query }) {
  const { reason, connection, worker, pool, after } = query
  const exits = useGet('debug/exits', { reason, connection, worker, pool, after, limit: 50 }, after ? 0 : 5)
  const set = (/** @type {string} */ name) => (/** @type {string} */ value) => {
    setQuery({ [name]: value.trim(), after: null }, false)
  }
  return h(
    'div',
    null,
    h(Title, { title: 'Exits' }),
    h(
      'div',
      { class: 'bar filters' },
      h(Choice, {
        label: 'Of what',
        value: reason ?? '',
        choices: [['', 'All'], ...REASONS.map(each => /** @type {[string, string]} */ ([each, each]))],
        onChoose: set('reason'),
      }),
      h(Search, { label: 'Connection', value: connection ?? '', onSearch: set('connection') }),
      h(Search, { label: 'Worker', value: worker ?? '', onSearch: set('worker') }),
      h(Search, { label: 'Pool', value: pool ?? '', onSearch: set('pool') }),
    ),
    h(Loading, {
      of: exits,
      what: 'the exits',
      children: (/** @type {Api.Exits} */ found) =>
        h(
          'div',
          null,
          h(ExitTable, { exits: found.exits }),
          h(
            'div',
            { class: 'bar' },
            after && h('a', { href: to(['exits'], { reason, connection, worker, pool }) }, 'Newest'),
            found.next &&
              h('a', { href: to(['exits'], { reason, connection, worker, pool, after: found.next }) }, 'Older'),
          ),
        ),
    }),
  )
}
