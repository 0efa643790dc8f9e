// @ts-check
// Starts a replay or a drop of all that matches a filter: counted first, with its pace, and with the
// name typed where it is much or not to be undone.
import { h, useEffect, useId, useState } from '../../vendor.js'
import { ApiError, post } from '../../api.js'
import { go, to } from '../../routes.js'
import { Dialog } from '../../ui/dialog.js'
import { count, plural, span } from '../../ui/format.js'
import { Text } from '../../ui/json.js'
import { Problem } from '../../ui/load.js'

/** So many are started without a name being typed. */
const MANY = 10_000
const FASTEST = 100_000

/** @typedef {'replay' | 'drop'} Kind */
/** @type {Record<Kind, {label: string, what: string}>} */
const WORDS = {
  replay: {
    label: 'Replay…',
    what: 'They become pending again and are sent anew, each once. Partners may see an event twice that they took, but did not acknowledge.',
  },
  drop: { label: 'Drop…', what: 'They are forgotten for good, their events, too. Nothing brings them back.' },
}

/** A filter in words. @param {{where: Api.Where}} props */
export function WhereWords({ where }) {
  const parts = Object.entries(where).filter(([, value]) => value)
  if (parts.length === 0) return h('span', null, 'all dead letters')
  return h(
    'span',
    null,
    parts.map(([name, value], at) => [
      at > 0 && ', ',
      `${name} `,
      h(
        'b',
        { key: name },
        h(Text, { text: Array.isArray(value) ? (value.length === 1 ? value[0] : `${value.length} ids`) : value }),
      ),
    ]),
  )
}

/** @param {{kind: Kind, where: Api.Where, name: string, onClose: () => void}} props `name` is what is typed */
function Start({ kind, where, name, onClose }) {
  const id = useId()
  const [matched, found] = useState(/** @type {number | null} */ (null)),
    [error, fail] = useState(/** @type {ApiError | null} */ (null))
  const [pace, setPace] = useState(''),
    [typed, type] = useState(''),
    [isBusy, work] = useState(false)
  const tell = (/** @type {unknown} */ caught) => {
    if (caught instanceof ApiError) fail(caught)
    else throw caught
  }
  useEffect(() => {
    post(`deadletters/${kind}`, { ...where, dry_run: true }).then((/** @type {Api.Selected} */ said) => {
      found(said.matched)
    }, tell)
  }, [])
  const mustType = kind === 'drop' || (matched ?? 0) > MANY
  const per_s = pace === '' ? null : Number(pace)
  const isPaceWrong = per_s !== null && !(Number.isInteger(per_s) && per_s >= 1 && per_s <= FASTEST)
  const isReady = matched !== null && matched > 0 && !isPaceWrong && (!mustType || typed === name) && !isBusy
  const onSubmit = async (/** @type {Event} */ event) => {
    event.preventDefault()
    if (!isReady) return
    work(true)
    try {
      const job = /** @type {Api.Job} */ (await post('jobs', { kind, where, per_s }))
      onClose()
      go(to(['jobs', job.id]))
    } catch (caught) {
      work(false)
      tell(caught)
    }
  }
  return h(
    'form',
    { onSubmit },
    h('p', null, 'Chosen: ', h(WhereWords, { where }), '.'),
    h(
      'p',
      { role: 'status' },
      matched === null
        ? error
          ? ''
          : 'Counting…'
        : h('b', null, `${plural(matched, 'dead letter')} ${matched === 1 ? 'matches' : 'match'} now.`),
    ),
    h('p', null, WORDS[kind].what),
    h(
      'div',
      { class: 'field' },
      h('label', { htmlFor: `${id}-pace` }, 'At most so many a second (empty: as fast as it goes)'),
      h('input', {
        id: `${id}-pace`,
        inputMode: 'numeric',
        value: pace,
        autoComplete: 'off',
        'aria-invalid': isPaceWrong,
        'aria-describedby': `${id}-pace-hint`,
        onInput: event => {
          setPace(event.currentTarget.value.trim())
        },
      }),
      h(
        'span',
        { id: `${id}-pace-hint`, class: isPaceWrong ? 'bad' : 'soft' },
        isPaceWrong
          ? `A whole number from 1 to ${count(FASTEST)}.`
          : per_s && matched
            ? `It takes about ${span(matched / per_s)}.`
            : '',
      ),
    ),
    mustType &&
      h(
        'div',
        { class: 'field' },
        h('label', { htmlFor: `${id}-name` }, 'Type ', h('b', null, h(Text, { text: name })), ' to go on'),
        h('input', {
          id: `${id}-name`,
          value: typed,
          autoComplete: 'off',
          spellcheck: false,
          onInput: event => {
            type(event.currentTarget.value)
          },
        }),
      ),
    h(Problem, { error }),
    h(
      'div',
      { class: 'bar end' },
      h('button', { type: 'button', onClick: onClose }, 'Not now'),
      h(
        'button',
        { type: 'submit', disabled: !isReady, class: kind === 'drop' ? 'danger' : 'main' },
        isBusy ? 'Starting…' : `${kind === 'drop' ? 'Drop' : 'Replay'} ${matched === null ? '' : count(matched)}`,
      ),
    ),
  )
}

/** @param {{kind: Kind, where: Api.Where, name?: string}} props `name` is typed where it has to be */
export function JobButton({ kind, where, name = where.connection ?? 'all connections' }) {
  const [isOpen, set] = useState(false),
    close = () => {
      set(false)
    }
  return h(
    'span',
    null,
    h(
      'button',
      {
        type: 'button',
        class: kind === 'drop' ? 'danger' : 'main',
        'aria-haspopup': 'dialog',
        onClick: () => {
          set(true)
        },
      },
      WORDS[kind].label,
    ),
    isOpen &&
      h(
        Dialog,
        { title: kind === 'drop' ? 'Drop dead letters' : 'Replay dead letters', onClose: close },
        h(Start, { kind, where, name, onClose: close }),
      ),
  )
}
