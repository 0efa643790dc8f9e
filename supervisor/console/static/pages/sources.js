// @ts-check
// All sources, each with what it receives.
import { h } from '../vendor.js'
import { useLook } from '../live.js'
import { Loading } from '../ui/load.js'
import { Title } from '../ui/page.js'
import { Sources } from './overview.js'

/** @type {(props: import('../routes.js').PageProps) => any} any: whatever preact draws */
export default function AllSources() {
  return h(
    'div',
    null,
    h(Title, { title: 'Sources' }),
    h(Loading, {
      of: useLook('overview'),
      what: 'the sources',
      children: (/** @type {Api.Overview} */ now) => h(Sources, { sources: now.sources }),
    }),
  )
}
