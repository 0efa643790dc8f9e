// @ts-check
// Why a connection does not run among the others, since when, and until what.
import { h } from '../vendor.js'
import { to } from '../routes.js'
import { plural, span } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Time } from '../ui/time.js'

/** What it waits for. @param {Api.ApartWhy} why */
function until({ on_trial, batches_left, events_left, seconds_left }) {
  if (on_trial) return `${plural(on_trial, 'delivery', 'deliveries')} of it to be tried yet, where nothing else runs.`
  if (!batches_left && !events_left && !seconds_left) return 'It comes back with its next batch that goes well.'
  const little =
    seconds_left && events_left ? `, worth ${plural(events_left, 'more event')} or ${span(seconds_left)}` : ''
  return `It comes back after ${plural(batches_left, 'more batch that goes', 'more batches that go')} well${little}.`
}

/** @param {{why: Api.ApartWhy}} props */
export function Why({ why }) {
  return h(
    'p',
    { class: 'soft why' },
    'Alone since ',
    h(Time, { at: why.since, ago: true }),
    ': ',
    h(Text, { text: why.text }),
    why.exit && [' (', h('a', { href: to(['exits', why.exit]) }, 'that end'), ')'],
    `. ${until(why)}`,
  )
}
