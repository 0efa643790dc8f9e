// Opens a snapshot in the heap loader of Chrome DevTools, and prints what it says of it as JSON:
//   node devtools.mjs FILE BUNDLE
// BUNDLE is where the loader is put together, from the TypeScript of the package.
import { readFileSync } from 'node:fs'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'
import { read } from './read.mjs'

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
await build({
  entryPoints: [fileURLToPath(new URL(`${front}/heap_snapshot_worker.ts`, import.meta.url))],
  bundle: true,
  format: 'esm',
  platform: 'node',
  plugins: [locales],
  outfile: bundle,
  logLevel: 'error',
})
// In Chrome since 119, in Node.js since 22.
Promise.withResolvers ??= () => {
  const made = {}
  made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }))
  return made
}
console.log(JSON.stringify(await read(await import(pathToFileURL(bundle)), readFileSync(file, 'utf8'))))
process.exit(0)
