// Opens a snapshot in the heap loader of Chrome DevTools, and prints what it says of it as JSON:
//   node devtools.mjs FILE BUNDLE
// BUNDLE is where the loader is put together, from the TypeScript of the package.
import { createReadStream, existsSync, renameSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { MessageChannel } from 'node:worker_threads'
import { build } from 'esbuild'

const [file, bundle] = process.argv.slice(2)
const front = 'node_modules/chrome-devtools-frontend/front_end/entrypoints/heap_snapshot_worker'

// Generated when DevTools is built; translations of its menus.
const locales = {
  name: 'locales',
  setup(build) {
    build.onResolve({ filter: /\/locales\.js$/ }, () => ({ path: 'locales', namespace: 'none' }))
    build.onLoad({ filter: /.*/, namespace: 'none' }, () => ({
      contents: 'export const LOCALES = [], BUNDLED_LOCALES = [], DEFAULT_LOCALE = "en-US", REMOTE_FETCH_PATTERN = "", LOCAL_FETCH_PATTERN = ""',
    }))
  },
}

if (!existsSync(bundle)) {
  await build({
    entryPoints: [fileURLToPath(new URL(`${front}/heap_snapshot_worker.ts`, import.meta.url))],
    bundle: true,
    format: 'esm',
    platform: 'node',
    plugins: [locales],
    outfile: `${bundle}.${process.pid}`,
    logLevel: 'error',
  })
  renameSync(`${bundle}.${process.pid}`, bundle)
}
// In Chrome since 119, in Node.js since 22.
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}
const { HeapSnapshot, HeapSnapshotLoader } = await import(pathToFileURL(bundle))

// What DevTools has in a second worker is done in this one, at the other end of a channel.
const { port1, port2 } = new MessageChannel()
new HeapSnapshot.SecondaryInitManager(port2)
const loader = new HeapSnapshotLoader.HeapSnapshotLoader({ sendEvent() {} })
for await (const chunk of createReadStream(file, { encoding: 'utf8' })) loader.write(chunk)
loader.close()
const snapshot = await loader.buildSnapshot(port1)

const found = { nodes: snapshot.nodeCount, total: snapshot.totalSize, held: [] }
const node = snapshot.rootNode()
for (let index = 0; index < snapshot.nodes.length; index += node.snapshot.nodeFieldCount ?? 7) {
  node.nodeIndex = index
  if (node.name() !== 'known.Held') continue
  const retainers = []
  for (const walk = node.retainers(); walk.hasNext(); walk.next()) {
    const edge = walk.item()
    retainers.push([edge.name(), edge.node().name()])
  }
  found.held.push({ id: node.id(), self: node.selfSize(), retained: node.retainedSize(), retainers })
}
console.log(JSON.stringify(found))
process.exit(0)
