// Bundles what entry.js names into vendor.js and vendor.css of the console, with its types and
// licences: node vendor.js FOLDER. The same packages give the same bytes.
import { readFile, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const folder = process.argv[2]
const TAKEN = ['preact', '@preact/signals-core', '@preact/signals', 'uplot']

const read = path => readFile(join(here, path), 'utf8')

async function licence(name) {
  const { version, license, homepage, repository } = JSON.parse(await read(`node_modules/${name}/package.json`))
  const home = homepage ?? repository?.url ?? repository
  return {
    title: `${name} ${version}`,
    text: `${name} ${version} (${license})\n${home}\n\n${(await read(`node_modules/${name}/LICENSE`)).trim()}\n`,
  }
}

async function main() {
  const licences = await Promise.all(TAKEN.map(licence))
  const note = `/* ${licences.map(one => one.title).join(', ')}; licences: THIRD_PARTY.txt; made by scripts/vendor-console */\n`
  const { outputFiles } = await build({
    absWorkingDir: here,
    entryPoints: ['entry.js'],
    bundle: true,
    minify: true,
    format: 'esm',
    target: 'es2022',
    charset: 'utf8',
    legalComments: 'none',
    write: false,
    logLevel: 'warning',
  })
  await writeFile(join(folder, 'vendor.js'), note + outputFiles[0].text)
  await writeFile(join(folder, 'vendor.css'), note + (await read('node_modules/uplot/dist/uPlot.min.css')))
  await writeFile(
    join(folder, 'vendor.d.ts'),
    '// Types of vendor.js, for the check alone; made by scripts/vendor-console.\n' +
      (await read('entry.js')).split('\n').slice(1).join('\n'),
  )
  await writeFile(
    join(folder, 'THIRD_PARTY.txt'),
    'vendor.js and vendor.css hold:\n\n' + licences.map(one => one.text).join(`\n${'-'.repeat(80)}\n\n`),
  )
}

await main()
