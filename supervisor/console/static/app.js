// @ts-check
// The shell: menu, the bar at the top, and the page that the address names. Knows no page's subject.
import { Component, h, render, useEffect, useState } from './vendor.js'
import { isLockedOut, logout, me, meet } from './api.js'
import { paused, stream, STREAM_WORDS, tooLarge } from './live.js'
import { find, go, MENU, place, to } from './routes.js'
import Login from './pages/login.js'
import { addKeys, isHelpOpen, KeysHelp } from './ui/keys.js'
import { Problem } from './ui/load.js'
import { Title } from './ui/page.js'
import { LOCAL, switchZone, zone } from './ui/time.js'

/** @typedef {import('./api.js').ApiError} ApiError */

const togglePause = () => {
  paused.value = !paused.value
}
const showKeys = () => {
  isHelpOpen.value = true
}

/** First letters that lead to a page, after "g". @type {Record<string, string>} */
const LETTERS = {
  o: '/',
  s: '/sources',
  c: '/connections',
  i: '/issues',
  d: '/deadletters',
  w: '/pools',
  e: '/exits',
  h: '/heaps',
  p: '/plan',
  a: '/activity',
}

addKeys([
  { keys: '?', what: 'Show this list', run: showKeys },
  {
    keys: '/',
    what: 'Find an event by its message id',
    run: () => {
      document.getElementById('find-event')?.focus()
    },
  },
  { keys: 'p', what: 'Pause all that is live, and go on', run: togglePause },
  { keys: 'u', what: 'Local time or UTC', run: switchZone },
  ...Object.entries(LETTERS).map(([letter, page]) => ({
    keys: `g ${letter}`,
    what: `Go to ${MENU.find(([at]) => at === page)?.[1]}`,
    run: () => {
      go(`#${page}`)
    },
  })),
])

/** @param {{section: string}} props */
function Menu({ section }) {
  return h(
    'nav',
    { 'aria-label': 'Pages', class: 'menu' },
    h('a', { class: 'brand', href: '#/' }, 'Bulkhead'),
    h(
      'ul',
      null,
      MENU.map(([at, words]) =>
        h('li', { key: at }, h('a', { href: `#${at}`, 'aria-current': at === section ? 'page' : undefined }, words)),
      ),
    ),
  )
}

/** Where the event is whose id somebody has. */
function FindEvent() {
  const [id, type] = useState('')
  const onSubmit = (/** @type {Event} */ event) => {
    event.preventDefault()
    if (id.trim()) go(to(['events', id.trim()]))
  }
  return h(
    'form',
    { role: 'search', class: 'find', onSubmit },
    h('label', { htmlFor: 'find-event', class: 'unseen-field' }, 'Find an event by its message id'),
    h('input', {
      id: 'find-event',
      type: 'search',
      placeholder: 'Message id',
      value: id,
      maxLength: 1000,
      autoComplete: 'off',
      spellcheck: false,
      onInput: event => {
        type(event.currentTarget.value)
      },
    }),
    h('button', { type: 'submit' }, 'Find'),
  )
}

function StreamState() {
  return h(
    'div',
    { class: 'live' },
    h(
      'span',
      { role: 'status', class: `stream ${stream.value}` },
      STREAM_WORDS[stream.value],
      tooLarge.value && ', but this page is too large for the stream: fetched every 10 s',
    ),
    h('button', { type: 'button', 'aria-pressed': paused.value, onClick: togglePause }, 'Pause'),
  )
}

function Who() {
  const [error, fail] = useState(/** @type {ApiError | null} */ (null))
  if (!me.value) return null
  const { name, role } = me.value
  const leave = () => {
    logout().catch((/** @type {ApiError} */ caught) => {
      fail(caught)
    })
  }
  return h(
    'div',
    { class: 'who' },
    h('span', { class: 'soft' }, name?.startsWith(role) ? null : `${role} `, h('bdi', null, name)),
    me.value.needs_login && h('button', { type: 'button', class: 'plain', onClick: leave }, 'Log out'),
    h(Problem, { error }),
  )
}

function Bar() {
  return h(
    'header',
    { class: 'top' },
    h(FindEvent, null),
    h(StreamState, null),
    h(
      'button',
      { type: 'button', title: LOCAL, onClick: switchZone },
      zone.value === 'UTC' ? 'Times in UTC' : 'Local times',
    ),
    h('button', { type: 'button', 'aria-label': 'Keys', onClick: showKeys }, '?'),
    h(Who, null),
  )
}

/** Keeps the menu where a page breaks, and says so. */
class Guarded extends Component {
  /** @param {{children?: any}} props any: whatever preact draws */
  constructor(props) {
    super(props)
    this.state = { error: null }
  }

  /** @param {unknown} error */
  static getDerivedStateFromError(error) {
    return { error }
  }

  render() {
    const { error } = /** @type {{error: unknown}} */ (this.state)
    if (error === null) return /** @type {any} */ (this.props).children
    console.error(error)
    return h(
      'div',
      null,
      h(Title, { title: 'This page broke' }),
      h(
        'p',
        { role: 'alert' },
        'A bug of the console; the service is not touched by it. ',
        h('bdi', null, String(error)),
      ),
      h(
        'button',
        {
          type: 'button',
          onClick: () => {
            location.reload()
          },
        },
        'Load the console anew',
      ),
    )
  }
}

/** @typedef {(props: import('./routes.js').PageProps) => any} Page any: whatever preact draws */

/** @param {{route: import('./routes.js').Route, params: Record<string, string>}} props */
function Loaded({ route, params }) {
  const [page, show] = useState(
    /** @type {{of: unknown, draw: Page | null, error: unknown}} */ ({ of: null, draw: null, error: null }),
  )
  useEffect(() => {
    let isWanted = true
    route.load().then(
      module => {
        if (isWanted) show({ of: route.load, draw: module.default, error: null })
      },
      error => {
        if (isWanted) show({ of: route.load, draw: null, error })
      },
    )
    return () => {
      isWanted = false
    }
  }, [route])
  if (page.error) {
    return h(
      'div',
      null,
      h(Title, { title: route.title }),
      h(
        'p',
        { role: 'alert' },
        'This page could not be loaded: the service cannot be reached, or was updated meanwhile.',
      ),
      h(
        'button',
        {
          type: 'button',
          onClick: () => {
            location.reload()
          },
        },
        'Load the console anew',
      ),
    )
  }
  if (!page.draw) return h('p', { role: 'status', class: 'soft' }, 'Loading the page…')
  return h(page.draw, { params, query: place.value.query })
}

/** What the address names. Tabs of one subject keep the page; another subject is a new one. */
function Outlet() {
  const found = find(place.value.names)
  if (!found) {
    return h(
      'div',
      null,
      h(Title, { title: 'No such page' }),
      h('p', null, 'Nothing stands at this address. ', h('a', { href: '#/' }, 'Overview')),
    )
  }
  const { tab: _, ...subject } = found.params
  const key = `${found.route.title} ${JSON.stringify(subject)}`
  return h(Guarded, { key }, h(Loaded, { key, ...found }))
}

function App() {
  const [error, fail] = useState(/** @type {ApiError | null} */ (null))
  const start = () => {
    fail(null)
    meet().catch((/** @type {ApiError} */ caught) => {
      if (caught.status !== 401) fail(caught)
    })
  }
  useEffect(start, [])
  if (isLockedOut.value)
    return h('main', { id: 'main', class: 'alone', tabIndex: -1 }, h(Login, { params: {}, query: {} }))
  if (!me.value) {
    return h(
      'main',
      { id: 'main', class: 'alone' },
      h('h1', null, 'Bulkhead'),
      error ? h(Problem, { error, again: start }) : h('p', { role: 'status', class: 'soft' }, 'Opening…'),
    )
  }
  const skip = (/** @type {Event} */ event) => {
    event.preventDefault()
    document.getElementById('main')?.focus()
  }
  return h(
    'div',
    { class: 'shell' },
    h('a', { class: 'skip', href: '#main', onClick: skip }, 'Skip to content'),
    h(Menu, { section: find(place.value.names)?.route.section ?? '' }),
    h('div', { class: 'right' }, h(Bar, null), h('main', { id: 'main', tabIndex: -1 }, h(Outlet, null))),
    h(KeysHelp, null),
  )
}

render(h(App, null), /** @type {HTMLElement} */ (document.getElementById('app')))
