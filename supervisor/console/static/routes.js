// @ts-check
// Which page stands at which address: the one table of them, and how an address is read and made.
// Addresses are behind the #, so that the page works below any prefix and every view has a link.
import { signal } from './vendor.js'
import { search } from './api.js'

/**
 * @typedef {Record<string, string>} Names
 * @typedef {{params: Names, query: Names}} PageProps what a page's component is given
 * @typedef {{pattern: string, title: string, section: string, load: () => Promise<{default: (props: PageProps) => any}>}} Route
 *   `section` is the entry of the menu that it belongs to; any: whatever preact draws
 */

/** @type {Route[]} */
export const ROUTES = [
  { pattern: '/', title: 'Overview', section: '/', load: () => import('./pages/overview.js') },
  { pattern: '/sources', title: 'Sources', section: '/sources', load: () => import('./pages/sources.js') },
  { pattern: '/sources/:name', title: 'Source', section: '/sources', load: () => import('./pages/source.js') },
  { pattern: '/sources/:name/:tab', title: 'Source', section: '/sources', load: () => import('./pages/source.js') },
  {
    pattern: '/connections',
    title: 'Connections',
    section: '/connections',
    load: () => import('./pages/connections.js'),
  },
  {
    pattern: '/connections/:name',
    title: 'Connection',
    section: '/connections',
    load: () => import('./pages/connection.js'),
  },
  {
    pattern: '/connections/:name/:tab',
    title: 'Connection',
    section: '/connections',
    load: () => import('./pages/connection.js'),
  },
  { pattern: '/issues', title: 'Issues', section: '/issues', load: () => import('./pages/issues.js') },
  { pattern: '/issues/:id', title: 'Issue', section: '/issues', load: () => import('./pages/issue.js') },
  {
    pattern: '/deadletters',
    title: 'Dead letters',
    section: '/deadletters',
    load: () => import('./pages/deadletters.js'),
  },
  {
    pattern: '/deadletters/:id',
    title: 'Dead letter',
    section: '/deadletters',
    load: () => import('./pages/letter.js'),
  },
  { pattern: '/jobs', title: 'Jobs', section: '/deadletters', load: () => import('./pages/jobs.js') },
  { pattern: '/jobs/:id', title: 'Job', section: '/deadletters', load: () => import('./pages/job.js') },
  { pattern: '/events/:id', title: 'Event', section: '/sources', load: () => import('./pages/event.js') },
  { pattern: '/pools', title: 'Isolation', section: '/pools', load: () => import('./pages/pools.js') },
  { pattern: '/pools/:name', title: 'Isolation', section: '/pools', load: () => import('./pages/pools.js') },
  { pattern: '/workers/:id', title: 'Worker', section: '/pools', load: () => import('./pages/worker.js') },
  { pattern: '/exits', title: 'Exits', section: '/exits', load: () => import('./pages/exits.js') },
  { pattern: '/exits/:id', title: 'Death certificate', section: '/exits', load: () => import('./pages/exit.js') },
  { pattern: '/heaps', title: 'Heaps', section: '/heaps', load: () => import('./pages/heaps.js') },
  { pattern: '/heaps/:name', title: 'Heap', section: '/heaps', load: () => import('./pages/heap.js') },
  { pattern: '/heaps/:name/objects/:id', title: 'Object', section: '/heaps', load: () => import('./pages/object.js') },
  { pattern: '/plan', title: 'Plan', section: '/plan', load: () => import('./pages/plan.js') },
  { pattern: '/activity', title: 'Activity', section: '/activity', load: () => import('./pages/activity.js') },
  { pattern: '/login', title: 'Log in', section: '', load: () => import('./pages/login.js') },
]

/** The menu, in its order. */
export const MENU = [
  ['/', 'Overview'],
  ['/sources', 'Sources'],
  ['/connections', 'Connections'],
  ['/issues', 'Issues'],
  ['/deadletters', 'Dead letters'],
  ['/pools', 'Isolation'],
  ['/exits', 'Exits'],
  ['/heaps', 'Heaps'],
  ['/plan', 'Plan'],
  ['/activity', 'Activity'],
]

/** @param {string} text */
function unescape(text) {
  try {
    return decodeURIComponent(text)
  } catch {
    return text // A lone % that somebody typed: it is then that name, which nothing bears.
  }
}

/**
 * An address as the browser has it.
 * @param {string} hash such as "#/connections/a/queue?from=1"
 */
export function readHash(hash) {
  const [before, after] = hash.replace(/^#/, '').split(/\?(.*)/s)
  const names = before.split('/').filter(Boolean).map(unescape)
  /** @type {Names} */
  const query = {}
  for (const [name, value] of new URLSearchParams(after ?? '')) query[name] = value
  return { names, query }
}

/**
 * @param {string[]} names
 * @returns {{route: Route, params: Names} | null} null where there is no such page
 */
export function find(names) {
  for (const route of ROUTES) {
    const parts = route.pattern.split('/').filter(Boolean)
    if (parts.length !== names.length) continue
    if (!parts.every((part, at) => part[0] === ':' || part === names[at])) continue
    /** @type {Names} */
    const params = {}
    parts.forEach((part, at) => {
      if (part[0] === ':') params[part.slice(1)] = names[at]
    })
    return { route, params }
  }
  return null
}

/** Where the page is. */
export const place = signal(readHash(location.hash))
addEventListener('hashchange', () => {
  place.value = readHash(location.hash)
})

/**
 * The link to a page: `to(['connections', name], { from })`.
 * @param {(string | number)[]} names
 * @param {import('./api.js').Query} [query]
 */
export const to = (names, query) => `#/${names.map(name => encodeURIComponent(name)).join('/')}${search(query)}`

/** @param {string} hash made by `to` */
export function go(hash) {
  location.hash = hash
}

/**
 * Changes the part of the address behind the ?, and stays on the page.
 * @param {Record<string, string | number | null | undefined>} changes null takes one out
 * @param {boolean} [isStep] whether the browser's back button comes back to what was
 */
export function setQuery(changes, isStep = true) {
  const hash = to(place.value.names, { ...place.value.query, ...changes })
  if (isStep) {
    go(hash)
    return
  }
  history.replaceState(null, '', hash)
  place.value = readHash(hash)
}
