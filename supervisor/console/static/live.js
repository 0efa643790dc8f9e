// @ts-check
// What changes by itself: one stream a tab for all that its page looks at. Pause ends the stream and
// the drawing; a hidden tab's stream ends after half a minute; where the service has no stream left,
// the same is fetched every ten seconds.
import { effect, signal, useEffect, useState } from './vendor.js'
import { ApiError, get, isLockedOut, path, search } from './api.js'

const HIDDEN_MS = 30_000
const FETCH_MS = 10_000
/** Looks that are opened within so many milliseconds share one stream. */
const GATHER_MS = 30
const RETRY_MS = 2_000
/** The service sends a sign of life every 15 seconds. */
const SILENT_MS = 45_000
/** Longest line of a stream, in characters. */
const LONGEST = 16 << 20

/**
 * @typedef {(value: any, isFirst: boolean) => void} Taker any: JSON of the look's row
 * @typedef {{name: string, where: string, take: Taker, fail: (error: ApiError) => void}} Watcher
 * @typedef {'off' | 'connecting' | 'live' | 'paused' | 'hidden' | 'reconnecting' | 'fetching'} StreamState
 */

/** Whether somebody stopped all that is live. */
export const paused = signal(false)
/** How the stream is. `off`: the page looks at nothing that changes by itself. */
export const stream = signal(/** @type {StreamState} */ ('off'))

/** The look that was too large for the stream the last time, and is fetched; '' where none is. */
export const tooLarge = signal('')

/** @type {Record<StreamState, string>} */
export const STREAM_WORDS = {
  off: 'No live view here',
  connecting: 'Connecting…',
  live: 'Live',
  paused: 'Paused',
  hidden: 'Stopped while hidden',
  reconnecting: 'The stream ended. Trying again…',
  fetching: 'No stream is free. Fetched every 10 s',
}

/** @type {Set<Watcher>} */
const watchers = new Set()
/** Ends the stream that is open. @type {AbortController | null} */
let stop = null
/** When each look was fetched the last time that it was too large. @type {Map<string, number>} */
const fetched = new Map()
/** Of which looks the last id was, so that a cut stream of rows goes on after it. */
let last = { url: '', id: '' }
/** @type {ReturnType<typeof setTimeout> | undefined} */
let opening
/** @type {ReturnType<typeof setTimeout> | undefined} */
let retrying
/** @type {ReturnType<typeof setTimeout> | undefined} */
let hiding

/** @param {Watcher} watcher @returns {Promise<unknown>} */
function fetchOnce(watcher) {
  const [kind, name] = watcher.name.split(/:(.*)/s)
  switch (kind) {
    case 'pool':
      return get(path('pools', name))
    case 'job':
      return get(path('jobs', name))
    case 'queues':
      return get('queues', { where: watcher.where })
    case 'tap':
      return get(path('tap', name), { ring: 'taken' })
    case 'tap-rejected':
      return get(path('tap', name), { ring: 'rejected' })
    case 'exits':
      return get('debug/exits', { limit: 20 })
    default:
      return get(path(kind))
  }
}

/** @param {Watcher} watcher @param {boolean} isFirst */
async function refresh(watcher, isFirst) {
  try {
    const value = await fetchOnce(watcher)
    if (watchers.has(watcher) && (isFirst || !paused.value)) watcher.take(value, isFirst)
  } catch (error) {
    if (!(error instanceof ApiError)) throw error
    if (watchers.has(watcher)) watcher.fail(error)
  }
}

function close() {
  stop?.abort()
  stop = null
  clearTimeout(opening)
  clearTimeout(retrying)
}

/** Opens it again, in about so many milliseconds: not all tabs at one moment. @param {number} ms */
function retry(ms) {
  close()
  retrying = setTimeout(open, ms * (1 + 0.5 * Math.random()))
}

/** Its row has what the stream has no room for. @param {string} look */
function fetchInstead(look) {
  const now = Date.now()
  if (now - (fetched.get(look) ?? -Infinity) < FETCH_MS) return
  fetched.set(look, now)
  tooLarge.value = look
  for (const watcher of watchers) if (watcher.name === look) void refresh(watcher, false)
}

/** @param {string} name @param {string} data JSON of one look */
function took(name, data) {
  if (paused.value) return
  const value = JSON.parse(data)
  if (name === 'too-large') {
    fetchInstead(value.look)
    return
  }
  if (name === tooLarge.value) tooLarge.value = ''
  for (const watcher of watchers) if (watcher.name === name) watcher.take(value, false)
}

/**
 * Reads a stream of events to its end. Throws when it is cut or silent.
 * @param {ReadableStream<Uint8Array<ArrayBuffer>>} body
 * @param {AbortController} stopped
 */
async function readEvents(body, stopped) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = '',
    name = '',
    data = ''
  for (;;) {
    const silent = setTimeout(() => stopped.abort(), SILENT_MS)
    const { done, value } = await reader.read()
    clearTimeout(silent)
    if (done) return
    const lines = (rest + value).split('\n')
    rest = lines.pop() ?? ''
    if (rest.length > LONGEST) throw new Error('a look is too long')
    for (const line of lines) {
      if (line.startsWith('event: ')) name = line.slice(7)
      else if (line.startsWith('data: ')) data += line.slice(6)
      else if (line.startsWith('id: ')) last = { ...last, id: line.slice(4) }
      else if (line === '') {
        if (data) took(name, data)
        name = data = ''
      }
    }
  }
}

async function open() {
  const before = stop !== null && stream.value === 'live' ? last.url : ''
  if (paused.value || isLockedOut.value || watchers.size === 0) {
    close()
    stream.value = paused.value ? 'paused' : 'off'
    return
  }
  const look = [...new Set([...watchers].map(each => each.name))].join(',')
  const url = `api/live${search({ look, where: [...watchers].find(each => each.name === 'queues')?.where })}`
  // The next page looks at the same.
  if (url === before) return
  close()
  if (last.url !== url) last = { url, id: '' }
  tooLarge.value = ''
  fetched.clear()
  const opened = (stop = new AbortController())
  if (stream.value !== 'fetching' && stream.value !== 'reconnecting') stream.value = 'connecting'
  try {
    // Not an EventSource: that tells no status, and sends no header.
    const response = await fetch(url, {
      signal: opened.signal,
      cache: 'no-store',
      headers: { 'X-Bulkhead': '1', Accept: 'text/event-stream', ...(last.id && { 'Last-Event-ID': last.id }) },
    })
    if (stop !== opened) return
    if (response.status === 401) isLockedOut.value = true
    else if (!response.ok || !response.body) {
      stream.value = 'fetching'
      for (const watcher of watchers) void refresh(watcher, false)
      retry(FETCH_MS)
      return
    } else {
      stream.value = 'live'
      await readEvents(response.body, opened)
    }
  } catch (error) {
    // Cut, silent or never there: said on the page, and tried again.
    if (stop === opened) console.debug('the stream ended:', error)
  }
  if (stop !== opened) return
  if (isLockedOut.value) {
    close()
    stream.value = 'off'
    return
  }
  stream.value = 'reconnecting'
  retry(RETRY_MS)
}

function openSoon() {
  clearTimeout(opening)
  opening = setTimeout(open, GATHER_MS)
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(hiding)
  if (document.hidden)
    hiding = setTimeout(() => {
      close()
      if (!paused.value) stream.value = 'hidden'
    }, HIDDEN_MS)
  else if (stream.value === 'hidden') void open()
})

let wasPaused = paused.value
effect(() => {
  if (paused.value === wasPaused) return
  wasPaused = paused.value
  void open()
})

/**
 * Follows a look until the answer is called. What it is now comes at once, as the first value.
 * @param {string} name "overview", "pool:NAME", "queues", "tap:SOURCE", "tap-rejected:SOURCE", "job:ID", "exits"
 * @param {Taker} take
 * @param {{where?: string, fail?: (error: ApiError) => void}} [how]
 */
export function watch(name, take, { where = '', fail = () => {} } = {}) {
  /** @type {Watcher} */
  const watcher = { name, where, take, fail }
  watchers.add(watcher)
  void refresh(watcher, true)
  openSoon()
  return () => {
    watchers.delete(watcher)
    openSoon()
  }
}

/**
 * The newest value of a look, for a component.
 * @param {string | null} name null looks at nothing
 * @param {string} [where] which queues, for the look of that name
 * @returns {{value: any, error: ApiError | null}} value is null until the first came; any: JSON
 */
export function useLook(name, where = '') {
  const [seen, see] = useState(
    /** @type {{name: string | null, value: any, error: ApiError | null}} */ ({ name, value: null, error: null }),
  )
  useEffect(() => {
    if (name === null) return undefined
    return watch(
      name,
      value => {
        see({ name, value, error: null })
      },
      {
        where,
        fail: error => {
          see(last => ({ name, value: last.name === name ? last.value : null, error }))
        },
      },
    )
  }, [name, where])
  return seen.name === name ? seen : { value: null, error: null }
}
