// @ts-check
// What a page asks the API for: the answer, or in words why there is none.
import { h, useCallback, useEffect, useRef, useState } from '../vendor.js'
import { ApiError, get } from '../api.js'
import { paused } from '../live.js'

/**
 * @template T
 * @typedef {{value: T | null, error: ApiError | null, isLoading: boolean, again: () => void}} Loaded
 */

/**
 * Asks once, and again where path or query change. An answer to another question is never shown.
 * @template T
 * @param {string | null} at path below api/, made by `path`; null asks nothing
 * @param {import('../api.js').Query} [query]
 * @param {number} [every_s] and again every so many seconds, but while the page is paused or hidden
 * @returns {Loaded<T>}
 */
export function useGet(at, query = {}, every_s = 0) {
  const asked = at === null ? '' : JSON.stringify([at, query])
  const [got, take] = useState(
    /** @type {{asked: string, value: T | null, error: ApiError | null}} */ ({ asked: '', value: null, error: null }),
  )
  const [turn, next] = useState(0)
  const isAsking = useRef(false)
  const again = useCallback(() => {
    next(n => n + 1)
  }, [])
  useEffect(() => {
    if (at === null) return undefined
    const stop = new AbortController()
    isAsking.current = true
    get(at, query, stop.signal).then(
      value => {
        isAsking.current = false
        take({ asked, value, error: null })
      },
      error => {
        if (stop.signal.aborted) return
        isAsking.current = false
        if (!(error instanceof ApiError)) throw error
        take(last => ({ asked, value: last.asked === asked ? last.value : null, error }))
      },
    )
    return () => {
      stop.abort()
    }
  }, [asked, turn])
  useEffect(() => {
    if (!every_s || at === null) return undefined
    const ticking = setInterval(() => {
      // A service that takes longer than that is not asked the same once more meanwhile.
      if (!paused.value && !document.hidden && !isAsking.current) again()
    }, 1000 * every_s)
    return () => {
      clearInterval(ticking)
    }
  }, [every_s, asked])
  const isOurs = got.asked === asked
  return {
    value: isOurs ? got.value : null,
    error: isOurs ? got.error : null,
    isLoading: !isOurs && at !== null,
    again,
  }
}

/** @param {ApiError} error */
function words(error) {
  switch (error.status) {
    case 403:
      return 'Your role may not see or do this'
    case 404:
      return 'There is no such thing, or no longer'
    case 0:
      return 'No answer'
    case 503:
      return 'Not to be had now'
    default:
      return error.status >= 500 ? 'Something went wrong in the service' : 'That was refused'
  }
}

/**
 * An error of the API, in words.
 * @param {{error: ApiError | null, again?: () => void}} props
 */
export function Problem({ error, again }) {
  if (!error) return null
  return h(
    'div',
    { class: 'notice bad', role: 'alert' },
    h('strong', null, `${words(error)}. `),
    h('bdi', null, error.message),
    again && h('button', { type: 'button', onClick: again }, 'Try again'),
  )
}

/**
 * Draws what came; before that says that it is on its way, and why it did not come.
 * @param {{of: {value: any, error: ApiError | null, again?: () => void}, what: string, children: (value: any) => any}} props
 *   `what` follows "Loading". any: h() infers no type, so that `children` names what it takes
 */
export function Loading({ of, what, children }) {
  return h(
    'div',
    { class: 'loading-area', 'aria-busy': of.value === null && !of.error },
    h(Problem, { error: of.error, again: of.again }),
    of.value !== null
      ? children(of.value)
      : of.error
        ? null
        : h('p', { class: 'soft', role: 'status' }, `Loading ${what}…`),
  )
}

/** @param {{children?: any}} props any: whatever preact draws */
export const Empty = ({ children }) => h('p', { class: 'empty soft' }, children)
