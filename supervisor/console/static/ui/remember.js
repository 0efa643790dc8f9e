// @ts-check
// What a person set on this browser. Where it may not keep anything, it is kept for this tab alone.

/** @type {Record<string, string>} */
const here = {}

/** @param {string} name @returns {string | null} */
export function recall(name) {
  try {
    return localStorage.getItem(`bulkhead.${name}`)
  } catch {
    return here[name] ?? null // Storage is shut off in this browser.
  }
}

/** @param {string} name @param {string} value */
export function remember(name, value) {
  here[name] = value
  try {
    localStorage.setItem(`bulkhead.${name}`, value)
  } catch {
    // Shut off, or full: then it holds until the tab is closed.
  }
}
