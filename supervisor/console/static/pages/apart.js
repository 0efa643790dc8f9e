// @ts-check
// Why a connection does not run among the others, since when, and until what.
import { h } from '../vendor.js'
import { to } from '../routes.js'
import { plural, span } from '../ui/format.js'
import { Text } from '../ui/json.js'
import { Time } from '../ui/time.js'

/** What it waits for. @param {Api.ApartWhy} why */
function until({ on_trial, batches_left, events_left, seconds_left }) {
  if (on_trial) return `${plural(on_trial, 'delivery', 'deliveries')} of it to be tried.`
  if (!batches_left && !events_left && !seconds_left) return 'It is tried no more, and comes back.'
  const little =
    seconds_left && events_left ? `, worth ${plural(events_left, 'more event')} or ${span(seconds_left)}` : ''
  return `Until ${plural(batches_left, 'more batch', 'more batches')} of it went well${little}.`
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
