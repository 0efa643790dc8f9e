// @ts-check
// The picture of what keeps what alive: each row lies below what keeps it alive, and its width is
// memory. The one source of it: a report's page holds a copy of this text, and the console links to
// this file. It imports nothing, and what it is given is only ever drawn as text.

/** @typedef {{label: string, kind: string, bytes: number, objects: number, above: Cell | null, cells: Cell[], id: number | null}} Cell */
/** @typedef {{picture: HTMLElement, crumbs: HTMLElement, detail: HTMLElement, link?: (cell: Cell) => HTMLElement | null}} Places `link` leads to a cell's object */

const ICICLE_ROW = 26,
  ICICLE_LEAST = 2

/**
 * @param {number} count of bytes
 * @returns {string}
 */
export function icicleSize(count) {
  if (count < 0) return '−' + icicleSize(-count)
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (count < 1024) return (unit === 'B' ? count : count.toFixed(1)) + ' ' + unit
    count /= 1024
  }
  return count.toFixed(1) + ' TiB'
}

/**
 * @param {number} share 0 to 1
 * @returns {string}
 */
export function iciclePercent(share) {
  return (100 * share).toFixed(share < 0.1 ? 1 : 0) + ' %'
}

/**
 * @param {Cell} cell
 * @returns {string} how Python calls it, from the last name that stands alone
 */
function iciclePath(cell) {
  const parts = []
  for (let each = /** @type {Cell | null} */ (cell); each && each.above; each = each.above) {
    parts.unshift(each.label)
    if (!/^[.[]/.test(each.label)) break
  }
  return parts.join('') || 'heap'
}

/**
 * @param {string} kind
 * @returns {number} a hue, the same for a class in every picture
 */
function icicleHue(kind) {
  let sum = 7
  for (const letter of kind) sum = (sum * 31 + (letter.codePointAt(0) ?? 0)) % 3600
  return sum / 10
}

/**
 * Draw a heap into three places, and follow clicks into it and out of it.
 * @param {Places} places
 * @param {any} data rows as `sandbox.heap.picture.Cell` is encoded: [label, kind, bytes, objects, cells, id]
 * @param {string} whole what shares are of
 * @returns {() => void} draws again, for another width
 */
export function drawIcicle(places, data, whole) {
  const root = (function tree(row, /** @type {Cell | null} */ above) {
    /** @type {Cell} */
    const cell = {
      label: String(row[0]),
      kind: String(row[1]),
      bytes: row[2],
      objects: row[3],
      above,
      cells: [],
      id: row[5] ?? null,
    }
    cell.cells = row[4].map((/** @type {any} */ each) => tree(each, cell))
    return cell
  })(data, null)
  let shown = root

  /** @param {string} tag @param {string} name @param {string} text */
  function make(tag, name, text) {
    const made = document.createElement(tag)
    if (name) made.className = name
    made.textContent = text
    return made
  }

  /** @param {Cell} cell */
  function tell(cell) {
    places.detail.replaceChildren(
      make('code', '', iciclePath(cell)),
      make(
        'div',
        'soft',
        (cell.kind ? cell.kind + ' · ' : '') +
          'keeps ' +
          icicleSize(cell.bytes) +
          ' alive, ' +
          iciclePercent(cell.bytes / Math.max(1, root.bytes)) +
          ' ' +
          whole +
          ', in ' +
          cell.objects.toLocaleString('en') +
          ' objects',
      ),
    )
    const link = places.link?.(cell)
    if (link) places.detail.append(link)
  }

  /** @param {Cell} cell */
  function show(cell) {
    shown = cell
    draw()
    tell(cell)
  }

  function draw() {
    const scale = places.picture.clientWidth / Math.max(1, shown.bytes)
    const cells = document.createDocumentFragment()
    let depth = 0
    ;(function put(/** @type {Cell} */ cell, /** @type {number} */ left, /** @type {number} */ row) {
      const wide = cell.bytes * scale
      if (wide < ICICLE_LEAST) return
      depth = Math.max(depth, row + 1)
      const text =
        (cell.label || 'heap') +
        (wide > 220 && cell.kind ? '  ' + cell.kind : '') +
        (wide > 320 ? '  ' + icicleSize(cell.bytes) : '')
      const made = make('button', 'cell', wide < 30 ? '' : text)
      made.style.cssText = `left:${left}px;top:${row * ICICLE_ROW}px;width:${Math.max(ICICLE_LEAST, wide)}px;background:hsl(${icicleHue(cell.kind)} 55% var(--cell-light))`
      if (wide < 30) made.style.padding = '0'
      made.setAttribute('type', 'button')
      made.setAttribute('aria-label', iciclePath(cell) + ', ' + cell.kind + ', ' + icicleSize(cell.bytes))
      made.onclick = () => {
        show(cell === shown && cell.above ? cell.above : cell)
        // What was clicked is gone: keyboards go on at its like.
        if (places.picture.firstElementChild instanceof HTMLElement)
          places.picture.firstElementChild.focus({ preventScroll: true })
      }
      made.onmouseenter = made.onfocus = () => tell(cell)
      cells.append(made)
      for (const each of cell.cells) {
        put(each, left, row + 1)
        left += each.bytes * scale
      }
    })(shown, 0, 0)
    places.picture.replaceChildren(cells)
    places.picture.style.height = Math.max(3, depth) * ICICLE_ROW + 'px'
    const way = []
    for (let cell = /** @type {Cell | null} */ (shown); cell; cell = cell.above) way.unshift(cell)
    places.crumbs.replaceChildren(
      ...way.map(cell => {
        const made = make('button', '', cell.label)
        made.setAttribute('type', 'button')
        made.onclick = () => show(cell)
        return made
      }),
    )
  }

  draw()
  tell(root)
  return draw
}
