// @ts-check
// Kept snapshots of workers' memory, and how one more is taken.
import { h } from '../vendor.js'
import { del, mayAct, path, post } from '../api.js'
import { go, to } from '../routes.js'
import { ConnectionName } from '../ui/colour.js'
import { AskButton } from '../ui/dialog.js'
import { span } from '../ui/format.js'
import { Empty, Loading, useGet } from '../ui/load.js'
import { size } from '../ui/meter.js'
import { Title } from '../ui/page.js'
import { Table } from '../ui/table.js'
import { Time } from '../ui/time.js'

/** Why one was taken, in words. @type {Record<string, string>} */
const REASONS = {
  baseline: 'to compare with, after its first minute',
  soft_limit: 'it reached the soft limit',
  memory_error: 'it met a MemoryError',
  request: 'somebody asked for it',
  asked: 'somebody asked for it',
  leak: 'it leaked',
}

/** @param {string} reason */
export const reasonOf = reason => REASONS[reason] ?? reason.replaceAll('_', ' ')

/** One of the workers, whose snapshot is then opened. */
function Take() {
  const workers = useGet('debug/workers')
  const found =
    /** @type {{workers: {id: string, pid: number | null}[]} | null} */ (workers.value)?.workers.filter(
      each => each.pid !== null,
    ) ?? []
  return h(
    'div',
    { class: 'bar filters', role: 'group', 'aria-label': 'Take a snapshot of a worker' },
    h('span', null, 'Take a snapshot of'),
    found.map(({ id }) =>
      h(AskButton, {
        key: id,
        label: id,
        title: `Take a snapshot of ${id}?`,
        confirm: 'Take it',
        run: async () => {
          go(to(['heaps', (await post('debug/snapshots', { worker: id })).name]))
        },
        children: h(
          'p',
          null,
          'It is taken in a forked copy: the worker stands still for as long as the fork takes, and goes on. It takes memory and room on the disk.',
        ),
      }),
    ),
  )
}

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function Heaps() {
  const kept = useGet('debug/snapshots', {}, 10)
  return h(
    'div',
    null,
    h(Title, { title: 'Heaps' }),
    h(
      'p',
      { class: 'soft' },
      'Snapshots of what a worker’s memory holds. One is taken by itself after a worker’s first minute, when it reaches its soft limit, and when it runs out.',
    ),
    mayAct() && h(Take, null),
    h(Loading, {
      of: kept,
      what: 'the snapshots',
      children: (/** @type {{snapshots: Api.Snapshot[]}} */ { snapshots }) =>
        snapshots.length === 0
          ? h(Empty, null, 'None is kept.')
          : h(Table, {
              label: 'Snapshots',
              rows: snapshots,
              keyOf: (/** @type {Api.Snapshot} */ each) => each.name,
              columns: /** @type {import('../ui/table.js').Column<Api.Snapshot>[]} */ ([
                {
                  head: 'Taken',
                  class: 'fit',
                  cell: each => h(Time, { at: each.at }),
                  link: each => to(['heaps', each.name]),
                },
                {
                  head: 'Worker',
                  class: 'fit',
                  cell: each => h('a', { href: to(['workers', each.worker]) }, each.worker),
                },
                {
                  head: 'Why',
                  cell: each => [
                    reasonOf(each.reason),
                    each.connection && [' ', h(ConnectionName, { name: each.connection })],
                  ],
                },
                { head: 'Kind', class: 'fit', cell: each => each.format },
                { head: 'Size', isNumber: true, cell: each => size(each.size_bytes) },
                { head: 'Stood still', isNumber: true, cell: each => span(each.pause_s) },
                ...(mayAct()
                  ? [
                      {
                        head: 'Forget',
                        cell: (/** @type {Api.Snapshot} */ each) =>
                          h(AskButton, {
                            label: 'Delete',
                            title: `Delete ${each.name}?`,
                            isDanger: true,
                            run: () => del(path('debug', 'snapshots', each.name)),
                            onDone: kept.again,
                            children: h('p', null, 'The file is gone then; nothing else is touched.'),
                          }),
                      },
                    ]
                  : []),
              ]),
            }),
    }),
  )
}
