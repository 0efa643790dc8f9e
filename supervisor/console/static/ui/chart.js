// @ts-check
// Numbers over time: stacked bars, and lines on a scale of their own at the right. Gaps stay gaps;
// minutes that were booked at a restart are hatched. What is drawn also stands in a table.
import { h, uPlot, useEffect, useMemo, useRef, useState } from '../vendor.js'
import { zone } from './time.js'
import { Table } from './table.js'

/**
 * @typedef {{label: string, values: Api.Column, tone: string, dash?: number[]}} Drawn `tone` is a colour of app.css without its dashes; bars have a fill-… of that name, too
 * @typedef {{label: string, times: number[], bars: Drawn[], lines?: Drawn[], restart?: number[], step_s: number, height?: number, period?: {from: number, to: number},
 *   barText: (value: number | null) => string, lineText?: (value: number | null) => string, onBrush?: (from: number, to: number) => void}} ChartProps
 *   `times` are epoch seconds at which frames of `step_s` begin; `period` is what is shown, more than they are or
 *   not; `restart` the indices of frames that were booked at a restart
 */

const dark = matchMedia('(prefers-color-scheme: dark)')

/** @param {string} tone */
const colour = tone => getComputedStyle(document.documentElement).getPropertyValue(`--${tone}`).trim()

/** @type {(options: Intl.DateTimeFormatOptions) => Intl.DateTimeFormat} */
const format = options =>
  new Intl.DateTimeFormat('en-GB', { ...options, hourCycle: 'h23', timeZone: zone.value === 'UTC' ? 'UTC' : undefined })

/** Steps between the marks of an axis: seconds, and whole numbers. */
const TIMES = [60, 300, 600, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86400, 7 * 86400, 14 * 86400]
const WHOLE = Array.from({ length: 13 }, (_, at) => [1, 2, 5].map(each => each * 10 ** at)).flat()

/** From when until when. @param {ChartProps} props @returns {[number, number]} epoch seconds */
function seen({ times, step_s, period }) {
  const first = times[0] ?? period?.from ?? 0,
    end = (times.at(-1) ?? first) + step_s
  return [Math.min(first, period?.from ?? first), Math.max(end, period?.to ?? end)]
}

/** @param {number[]} splits epoch seconds */
function ticks(splits) {
  const far = splits.length > 1 && splits[splits.length - 1] - splits[0] > 1.5 * 86400
  const text = far ? format({ day: 'numeric', month: 'short' }) : format({ hour: '2-digit', minute: '2-digit' })
  return splits.map(at => text.format(at * 1000))
}

/** Sums from the first series up, so that each bar stands on the one before. @param {Drawn[]} bars */
function stacked(bars) {
  /** @type {Api.Column[]} */
  const sums = []
  for (const { values } of bars) {
    const under = sums.at(-1)
    sums.push(values.map((value, at) => (value === null ? (under ? under[at] : null) : value + (under?.[at] ?? 0))))
  }
  return sums
}

/** Bars are drawn from the tallest sum down. @param {ChartProps} props @returns {any} any: uPlot's own type of columns */
const columnsOf = props => [
  props.times,
  ...stacked(props.bars).reverse(),
  ...(props.lines ?? []).map(line => line.values),
]

/** @param {uPlot} plot @param {ChartProps} props */
function hatch(plot, props) {
  const { ctx, bbox } = plot
  ctx.save()
  ctx.strokeStyle = colour('soft')
  ctx.lineWidth = devicePixelRatio
  for (const at of props.restart ?? []) {
    const left = plot.valToPos(props.times[at], 'x', true),
      right = plot.valToPos(props.times[at] + props.step_s, 'x', true)
    ctx.beginPath()
    ctx.rect(left, bbox.top, Math.max(4 * devicePixelRatio, right - left), bbox.height)
    ctx.save()
    ctx.clip()
    for (let y = bbox.top - (right - left); y < bbox.top + bbox.height; y += 7 * devicePixelRatio) {
      ctx.moveTo(left, y)
      ctx.lineTo(left + bbox.height, y + bbox.height)
    }
    ctx.stroke()
    ctx.restore()
  }
  ctx.restore()
}

/**
 * @param {{current: ChartProps}} now
 * @param {number} width
 * @param {(at: number | null) => void} point
 * @returns {uPlot.Options}
 */
function optionsOf(now, width, point) {
  const { bars, lines = [], height = 220 } = now.current
  const axis = {
    stroke: colour('soft'),
    grid: { stroke: colour('line'), width: 1 },
    ticks: { stroke: colour('line'), width: 1 },
  }
  const paths = uPlot.paths.bars?.({ size: [0.9, 60], align: 1 })
  return {
    width,
    height,
    legend: { show: false },
    cursor: {
      y: false,
      points: { show: false },
      drag: { x: now.current.onBrush !== undefined, y: false, setScale: false },
    },
    scales: {
      x: { range: () => seen(now.current) },
      y: { range: (_plot, _low, high) => [0, Math.max(high * 1.08, 1)] },
      right: { range: (_plot, _low, high) => [0, Math.max(high * 1.08, 0.001)] },
    },
    series: [
      {},
      ...bars.toReversed().map(bar => ({
        label: bar.label,
        fill: colour(`fill-${bar.tone}`),
        stroke: colour(bar.tone),
        width: 1,
        paths,
        points: { show: false },
      })),
      ...lines.map(line => ({
        label: line.label,
        scale: 'right',
        stroke: colour(line.tone),
        width: 2,
        dash: line.dash,
        points: { size: 4 },
        spanGaps: false,
      })),
    ],
    axes: [
      { ...axis, incrs: TIMES, values: (_plot, splits) => ticks(splits) },
      { ...axis, size: 64, incrs: WHOLE, values: (_plot, splits) => splits.map(each => now.current.barText(each)) },
      {
        ...axis,
        show: lines.length > 0,
        side: 1,
        scale: 'right',
        size: 64,
        grid: { show: false },
        values: (_plot, splits) => splits.map(each => (now.current.lineText ?? now.current.barText)(each)),
      },
    ],
    hooks: {
      draw: [
        plot => {
          hatch(plot, now.current)
        },
      ],
      setCursor: [
        plot => {
          point(plot.cursor.idx ?? null)
        },
      ],
      setSelect: [
        plot => {
          const { left, width: wide } = plot.select
          if (wide < 6) return
          now.current.onBrush?.(plot.posToVal(left, 'x'), plot.posToVal(left + wide, 'x'))
          plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
        },
      ],
    },
  }
}

/** @param {number[]} [dash] */
const dashWord = ([first] = []) => (first === undefined ? 'solid' : first < 4 ? 'dotted' : 'dashed')

/** @param {ChartProps} props */
export function Chart(props) {
  const at = useRef(/** @type {HTMLDivElement | null} */ (null)),
    plot = useRef(/** @type {uPlot | null} */ (null))
  const now = useRef(props)
  now.current = props
  const [pointed, point] = useState(/** @type {number | null} */ (null)),
    [isDark, shade] = useState(dark.matches)
  useEffect(() => {
    const follow = () => {
      shade(dark.matches)
    }
    dark.addEventListener('change', follow)
    return () => {
      dark.removeEventListener('change', follow)
    }
  }, [])
  const shape = [...props.bars, ...(props.lines ?? [])].map(each => each.label).join('\n')
  useEffect(() => {
    const room = at.current
    if (!room) return undefined
    const made = (plot.current = new uPlot(optionsOf(now, room.clientWidth, point), columnsOf(now.current), room))
    const sized = new ResizeObserver(() => {
      if (plot.current === made) made.setSize({ width: room.clientWidth, height: now.current.height ?? 220 })
    })
    sized.observe(room)
    return () => {
      sized.disconnect()
      made.destroy()
      plot.current = null
    }
  }, [shape, isDark, zone.value])
  useEffect(() => {
    plot.current?.setData(columnsOf(props))
  }, [props.times, props.bars, props.lines, props.period?.from, props.period?.to])
  const shown = pointed !== null && pointed < props.times.length ? pointed : null
  return h(
    'figure',
    { class: 'chart card' },
    h(
      'figcaption',
      { class: 'legend' },
      h('span', { class: 'soft' }, shown === null ? props.label : clockOf(props.times[shown])),
      [
        ...props.bars.map(bar => ({ ...bar, text: props.barText })),
        ...(props.lines ?? []).map(line => ({ ...line, text: props.lineText ?? props.barText })),
      ].map(each =>
        h(
          'span',
          { key: each.label, class: 'legend-entry' },
          h('span', {
            class: `swatch ${props.lines?.some(line => line.label === each.label) ? `line ${dashWord(each.dash)}` : ''}`,
            'aria-hidden': 'true',
            style: { '--tone': `var(--${each.tone})`, '--fill': `var(--fill-${each.tone})` },
          }),
          each.label,
          shown !== null && h('b', null, ` ${each.text(each.values[shown])}`),
        ),
      ),
      (props.restart?.length ?? 0) > 0 &&
        h('span', { class: 'soft' }, 'Hatched: booked at a restart, for the time around it'),
    ),
    h('div', { ref: at, class: 'plot', 'aria-hidden': 'true' }),
    h(Numbers, props),
  )
}

/** @param {number} at epoch seconds */
const clockOf = at => format({ day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' }).format(at * 1000)

/** The same as a table, made when it is opened. @param {ChartProps} props */
function Numbers(props) {
  const [isOpen, open] = useState(false)
  const rows = useMemo(() => (isOpen ? props.times.map((_, at) => at).reverse() : []), [isOpen, props.times])
  const drawn = [
    ...props.bars.map(bar => ({ bar, text: props.barText })),
    ...(props.lines ?? []).map(bar => ({ bar, text: props.lineText ?? props.barText })),
  ]
  return h(
    'details',
    {
      class: 'numbers',
      onToggle: event => {
        open(/** @type {HTMLDetailsElement} */ (event.currentTarget).open)
      },
    },
    h('summary', null, 'As a table'),
    isOpen &&
      h(Table, {
        label: props.label,
        rows,
        keyOf: (/** @type {number} */ at) => String(props.times[at]),
        columns: [
          {
            head: 'Time',
            cell: (/** @type {number} */ at) =>
              clockOf(props.times[at]) + (props.restart?.includes(at) ? ' (restart)' : ''),
          },
          ...drawn.map(({ bar, text }) => ({
            head: bar.label,
            isNumber: true,
            cell: (/** @type {number} */ at) => text(bar.values[at]),
          })),
        ],
      }),
  )
}
