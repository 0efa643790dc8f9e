// @ts-check
// What the config on disk would change, and the reload that does it.
import { h, useState } from '../vendor.js'
import { ApiError, get, mayAct, post } from '../api.js'
import { to } from '../routes.js'
import { ConnectionName } from '../ui/colour.js'
import { AskButton } from '../ui/dialog.js'
import { plural } from '../ui/format.js'
import { Raw, Text } from '../ui/json.js'
import { Empty, Problem } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Time } from '../ui/time.js'

/** @param {{head: string, names: string[], draw?: (name: string) => any}} props any: whatever preact draws */
function Names({ head, names, draw = name => h(Text, { text: name }) }) {
  if (names.length === 0) return null
  return h(
    'div',
    null,
    h('h3', null, head),
    h(
      'ul',
      { class: 'named-list' },
      names.map(name => h('li', { key: name }, draw(name))),
    ),
  )
}

/** @param {{changes: Api.Changes}} props */
function Changed({ changes }) {
  const { pools, connections, sources, needs_restart } = changes
  const lost = connections.gone.reduce((sum, each) => sum + each.pending, 0)
  const link = (/** @type {string} */ name) => h('a', { href: to(['pools', name]) }, name)
  const sourceRows = Object.entries(sources).filter(([, names]) => Array.isArray(names) && names.length > 0)
  return h(
    'div',
    null,
    lost > 0 &&
      h(
        'div',
        { class: 'notice warn' },
        `${plural(lost, 'pending delivery', 'pending deliveries')} of connections that go would become dead letters.`,
      ),
    needs_restart.length > 0 &&
      h('div', { class: 'notice warn' }, 'Only a restart changes ', h('code', null, needs_restart.join(', ')), '.'),
    h(
      'div',
      { class: 'cards wide' },
      h(
        'section',
        { class: 'card', 'aria-labelledby': 'plan-pools' },
        h('h2', { id: 'plan-pools' }, 'Pools'),
        h(Names, { head: 'New workers', names: pools.replaced, draw: link }),
        h(Names, { head: 'New', names: pools.new }),
        h(Names, { head: 'Gone', names: pools.gone, draw: link }),
        pools.replaced.length + pools.new.length + pools.gone.length === 0 && h('p', { class: 'soft' }, 'As they are.'),
      ),
      h(
        'section',
        { class: 'card', 'aria-labelledby': 'plan-connections' },
        h('h2', { id: 'plan-connections' }, 'Connections'),
        h(Names, { head: 'New', names: connections.new }),
        connections.changed.length > 0 &&
          h(
            'div',
            null,
            h('h3', null, 'Changed'),
            h(
              'ul',
              { class: 'named-list' },
              connections.changed.map(each =>
                h(
                  'li',
                  { key: each.name },
                  h(ConnectionName, { name: each.name }),
                  ' ',
                  h('code', null, each.keys.join(', ')),
                ),
              ),
            ),
          ),
        connections.gone.length > 0 &&
          h(
            'div',
            null,
            h('h3', null, 'Gone'),
            h(
              'ul',
              { class: 'named-list' },
              connections.gone.map(each =>
                h(
                  'li',
                  { key: each.name },
                  h(ConnectionName, { name: each.name }),
                  ` ${plural(each.pending, 'pending delivery', 'pending deliveries')}`,
                ),
              ),
            ),
          ),
        connections.new.length + connections.changed.length + connections.gone.length === 0 &&
          h('p', { class: 'soft' }, 'As they are.'),
      ),
      h(
        'section',
        { class: 'card', 'aria-labelledby': 'plan-sources' },
        h('h2', { id: 'plan-sources' }, 'Sources'),
        sourceRows.length === 0
          ? h('p', { class: 'soft' }, 'As they are.')
          : sourceRows.map(([what, names]) =>
              h(Names, {
                key: what,
                head: what,
                names: /** @type {unknown[]} */ (names).map(each =>
                  typeof each === 'string'
                    ? each
                    : (/** @type {{name?: string}} */ (each)?.name ?? JSON.stringify(each)),
                ),
              }),
            ),
      ),
    ),
  )
}

/** @param {{errors: string[]}} props */
const Errors = ({ errors }) =>
  errors.length === 0
    ? null
    : h(
        'div',
        { class: 'notice bad', role: 'alert' },
        h('strong', null, 'The file cannot be used. What runs goes on.'),
        h(Raw, { text: errors.join('\n'), label: 'errors of the file' }),
      )

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function PlanPage() {
  const [plan, show] = useState(/** @type {Api.Plan | null} */ (null)),
    [isBusy, work] = useState(false)
  const [done, tell] = useState(/** @type {Api.Reloaded | null} */ (null))
  const [error, fail] = useState(/** @type {ApiError | null} */ (null))
  const read = async () => {
    work(true)
    fail(null)
    tell(null)
    try {
      show(await get('plan'))
    } catch (caught) {
      if (!(caught instanceof ApiError)) throw caught
      fail(caught)
    } finally {
      work(false)
    }
  }
  const reload = async () => {
    tell(await post('reload'))
    show(null)
  }
  if (!mayAct())
    return h(
      'div',
      null,
      h(Title, { title: 'Plan' }),
      h(
        Empty,
        null,
        'What the config on disk would change is for operators: it is read, and destinations are imported, to tell.',
      ),
    )
  return h(
    'div',
    null,
    h(Title, { title: 'Plan' }),
    h(
      'p',
      { class: 'soft' },
      'Reads the config file on disk, has its destinations declare themselves in jailed workers, and tells what a reload would change. Nothing changes by that.',
    ),
    h(
      'div',
      { class: 'bar' },
      h(
        'button',
        {
          type: 'button',
          class: 'main',
          disabled: isBusy,
          onClick: () => {
            void read()
          },
        },
        isBusy ? 'Reading…' : plan ? 'Read it again' : 'Read the file',
      ),
      h(AskButton, {
        label: 'Reload',
        title: 'Reload the config?',
        confirm: 'Reload',
        run: reload,
        children: h(
          'p',
          null,
          'The service follows the file on disk, as on SIGHUP. A file that cannot be used changes nothing.',
        ),
      }),
    ),
    h(Problem, { error }),
    done &&
      h(
        'div',
        null,
        h(
          'div',
          { class: `notice ${done.reloaded ? 'good' : 'bad'}`, role: 'status' },
          done.reloaded ? 'Reloaded.' : 'Not reloaded: nothing has changed.',
        ),
        h(Errors, { errors: done.errors }),
        done.changes && h(Changed, { changes: done.changes }),
      ),
    plan &&
      h(
        'div',
        null,
        h('p', null, 'Read ', h(Time, { at: plan.read_at }), '.'),
        h(Errors, { errors: plan.errors }),
        plan.errors.length > 0
          ? null
          : plan.differs
            ? h(Changed, { changes: plan })
            : h(Empty, null, 'The file on disk is what runs.'),
      ),
  )
}
