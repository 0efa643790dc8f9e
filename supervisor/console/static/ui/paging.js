// @ts-check
// Rows of an answer that comes in pages, fetched as somebody scrolls: which are there, and where the
// next page begins. Knows no drawing.
import { useEffect, useRef, useState } from '../vendor.js'
import { ApiError } from '../api.js'
import { paused } from '../live.js'

const SIZE = 500
const REFRESH_MS = 5_000

/** @typedef {{rows: any[], next: string | null, total: number, matched: number}} PageOf any: JSON of a row */
/** @typedef {(limit: number, after: string, stop: AbortSignal) => Promise<PageOf>} Fetch */

class Pages {
  /** @param {Fetch} fetch @param {() => void} changed */
  constructor(fetch, changed) {
    this.fetch = fetch
    this.changed = changed
    /** @type {any[][]} */
    this.pages = []
    /** Where each page begins. @type {string[]} */
    this.starts = ['']
    this.total = 0
    this.matched = 0
    this.isFirst = true
    /** @type {ApiError | null} */
    this.error = null
    this.seen = [0, 0]
    this.isBusy = false
    this.stop = new AbortController()
  }

  /** @param {number} at */
  rowAt(at) {
    return this.pages[Math.floor(at / SIZE)]?.[at % SIZE]
  }

  /** @param {number} page */
  async load(page) {
    const got = await this.fetch(SIZE, this.starts[page], this.stop.signal)
    this.pages[page] = got.rows
    if (got.next !== null) this.starts[page + 1] = got.next
    this.total = got.total
    this.matched = got.matched
    this.error = null
    this.isFirst = false
    this.changed()
  }

  /** @param {() => Promise<void>} work one at a time; what is asked for meanwhile comes with the next */
  async alone(work) {
    if (this.isBusy) return
    this.isBusy = true
    try {
      await work()
    } catch (error) {
      if (this.stop.signal.aborted) return
      if (!(error instanceof ApiError)) throw error
      this.error = error
      this.changed()
    } finally {
      this.isBusy = false
    }
  }

  /** What is seen has to be there, and for that all before it: a page tells where the next begins. */
  fill() {
    return this.alone(async () => {
      for (let page = 0; page <= Math.floor(Math.max(0, this.seen[1] - 1) / SIZE); page += 1) {
        if (this.pages[page] === undefined && this.starts[page] !== undefined) await this.load(page)
      }
    })
  }

  /** What is seen, anew. */
  refresh() {
    return this.alone(async () => {
      const first = Math.floor(this.seen[0] / SIZE),
        last = Math.floor(Math.max(0, this.seen[1] - 1) / SIZE)
      for (let page = first; page <= last; page += 1) if (this.starts[page] !== undefined) await this.load(page)
    })
  }

  /** @param {number} first @param {number} last */
  want(first, last) {
    this.seen = [first, last]
    void this.fill()
  }
}

/**
 * @param {string} asked another text is another question, and nothing of the last one is shown
 * @param {Fetch} fetch
 */
export function usePages(asked, fetch) {
  const [, draw] = useState(0),
    held = useRef(/** @type {{asked: string, pages: Pages} | null} */ (null))
  if (held.current?.asked !== asked) {
    held.current?.pages.stop.abort()
    const pages = new Pages(fetch, () => {
      draw(n => n + 1)
    })
    pages.seen = [0, 1]
    held.current = { asked, pages }
  }
  const { pages } = held.current
  useEffect(() => {
    void pages.fill()
    const ticking = setInterval(() => {
      if (!paused.value && !document.hidden) void pages.refresh()
    }, REFRESH_MS)
    return () => {
      clearInterval(ticking)
    }
  }, [pages])
  useEffect(
    () => () => {
      held.current?.pages.stop.abort()
    },
    [],
  )
  return pages
}
