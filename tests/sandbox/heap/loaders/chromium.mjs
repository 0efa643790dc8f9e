// Opens a snapshot in the DevTools that Chromium itself has, or a report's page, and prints what is
// seen there as JSON:
//   node chromium.mjs snapshot FILE
//   node chromium.mjs page FILE
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import puppeteer from 'puppeteer-core'
import { read } from './read.mjs'

const [what, file] = process.argv.slice(2)
const browser = await puppeteer.launch({
  executablePath: '/usr/bin/chromium',
  args: ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
})
try {
  const page = await browser.newPage()
  console.log(JSON.stringify(await (what === 'page' ? seen(page) : loaded(page))))
} finally {
  await browser.close()
}

async function loaded(page) {
  await page.goto('devtools://devtools/bundled/devtools_app.html')
  const worker = 'devtools://devtools/bundled/entrypoints/heap_snapshot_worker/heap_snapshot_worker.js'
  const run = (text, worker, read) => import(worker).then(modules => (0, eval)(`(${read})`)(modules, text))
  // DevTools forbids eval on its pages; what is evaluated from outside is not bound by that.
  await page.setBypassCSP(true)
  await page.reload()
  return page.evaluate(run, readFileSync(file, 'utf8'), worker, String(read))
}

async function seen(page) {
  const found = { errors: [], requests: [] }
  page.on('pageerror', error => found.errors.push(String(error)))
  page.on('console', message => found.errors.push(message.text()))
  page.on('request', request => found.requests.push(request.url().slice(0, 5)))
  await page.goto(pathToFileURL(file))
  const texts = selector => page.$$eval(selector, all => all.map(each => each.textContent))
  found.paths = await texts('.suspect .path')
  found.cells = (await page.$$('.cell')).length
  found.classes = (await page.$$('#classes tr')).length
  // Into the largest part of the heap, then one deeper.
  await (await page.$$('.cell'))[1].click()
  found.inside = await texts('#crumbs button')
  found.detail = (await texts('#detail'))[0]
  await (await page.$('#crumbs button')).click()
  found.outside = await texts('#crumbs button')
  return found
}
