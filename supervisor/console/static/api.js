// @ts-check
// The API as the page speaks to it: paths below api/ beside the page, JSON in and out, every error
// in words. Nothing else of the page fetches anything, but live.js its stream.
import { signal } from './vendor.js'

/** Longest wait for an answer, in milliseconds. */
const PATIENCE_MS = 60_000

/** What the API refused, or why it could not be asked. `status` is 0 where no answer came. */
export class ApiError extends Error {
  /** @param {number} status @param {string} error @param {string} message */
  constructor(status, error, message) {
    super(message)
    this.status = status
    this.error = error
  }
}

/** Who is looking; null until it is known. */
export const me = signal(/** @type {Api.Me | null} */ (null))
/** Whether the API asks for a login that this browser has not made, or that has expired. */
export const isLockedOut = signal(false)

/** Whether who looks may act. A viewer sees no acting button; the service refuses it, too. */
export const mayAct = () => me.value?.role === 'operator'

/**
 * A path of names, each escaped: `path('connections', name)`.
 * @param {...(string | number)} names
 */
export const path = (...names) => names.map(name => encodeURIComponent(name)).join('/')

/** @typedef {Record<string, string | number | null | undefined>} Query */

/**
 * @param {Query} [query] what is null, undefined or "" is left out
 * @returns {string} "" or "?a=b"
 */
export function search(query = {}) {
  const given = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') given.append(name, String(value))
  }
  const text = given.toString()
  return text && `?${text}`
}

/** @param {Response} response */
async function errorOf(response) {
  let error = 'http_error',
    message = `the service answered ${response.status} ${response.statusText}`
  try {
    const said = await response.json()
    if (typeof said.error === 'string') error = said.error
    if (typeof said.message === 'string') message = said.message
    else if (response.status === 403) message = 'your role may not do this'
  } catch {
    // No JSON: a proxy's page, say. The status is all that there is to tell.
  }
  return new ApiError(response.status, error, message)
}

/**
 * @param {string} url
 * @param {RequestInit} init
 * @param {AbortSignal} [stop]
 */
async function ask(url, init, stop) {
  const late = AbortSignal.timeout(PATIENCE_MS)
  let response
  try {
    response = await fetch(url, { ...init, signal: stop ? AbortSignal.any([stop, late]) : late })
  } catch (error) {
    if (stop?.aborted) throw error
    throw new ApiError(
      0,
      'no_answer',
      late.aborted
        ? `the service did not answer within ${PATIENCE_MS / 1000} seconds`
        : 'the service cannot be reached; is it running, and is this machine online?',
    )
  }
  if (response.ok) return response
  if (response.status === 401 && url !== 'login') isLockedOut.value = true
  throw await errorOf(response)
}

/**
 * @param {string} url
 * @param {RequestInit} init
 * @param {AbortSignal} [stop]
 */
async function json(url, init, stop) {
  const response = await ask(url, init, stop)
  if (response.status === 204) return null
  try {
    return await response.json()
  } catch {
    throw new ApiError(response.status, 'no_json', 'the answer was cut off, or is no JSON')
  }
}

const ACT = { 'X-Bulkhead': '1' }

/**
 * @param {string} at a path below api/, made by `path`
 * @param {Query} [query]
 * @param {AbortSignal} [stop]
 * @returns {Promise<any>} any: JSON; callers name its shape
 */
export const get = (at, query, stop) =>
  json(`api/${at}${search(query)}`, { headers: { ...ACT, Accept: 'application/json' } }, stop)

/**
 * @param {string} at
 * @param {unknown} [body] what becomes JSON
 * @returns {Promise<any>}
 */
export const post = (at, body = {}) => postText(at, JSON.stringify(body))

/**
 * @param {string} at
 * @param {string} text JSON as somebody wrote it, sent with the digits that it has
 * @returns {Promise<any>}
 */
export const postText = (at, text) =>
  json(`api/${at}`, { method: 'POST', headers: { ...ACT, 'Content-Type': 'application/json' }, body: text })

/** @param {string} at @returns {Promise<any>} */
export const del = at => json(`api/${at}`, { method: 'DELETE', headers: ACT })

/**
 * Text of an answer that is no JSON, or whose digits matter.
 * @param {string} at @param {Query} [query] @param {AbortSignal} [stop]
 */
export async function getText(at, query, stop) {
  return (await ask(`api/${at}${search(query)}`, { headers: ACT }, stop)).text()
}

/** Who am I? Fills `me`, or says that a login is needed. */
export async function meet() {
  me.value = await get('me')
  isLockedOut.value = false
}

/** @param {string} token of an operator or a viewer */
export async function login(token) {
  const body = JSON.stringify({ token })
  await ask('login', { method: 'POST', headers: { ...ACT, 'Content-Type': 'application/json' }, body })
  await meet()
}

/** Ends the session, here and at the service. */
export async function logout() {
  await ask('logout', { method: 'POST', headers: ACT })
  me.value = null
  isLockedOut.value = true
}
