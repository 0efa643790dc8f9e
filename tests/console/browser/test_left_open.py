"""A page that is left open keeps what it shows, and nothing of what it has shown before.

Owns the stream that it is given here: thousands of long rows, one look a frame, as a source sends
them in minutes. `./scripts/bench browser` measures an hour against the real service.
"""

from __future__ import annotations

from tests.console.browser.conftest import OpenTab
from tests.console.browser.tab import Tab

#: Looks, rows of each, and bytes of a row's body: 100 MB in all, of which 500 rows are kept.
LOOKS, ROWS, BODY_BYTES = 100, 50, 20_000
KEPT_ROWS = 500
#: What is drawn of a row, and garbage that no collection has found yet, in bytes.
SPARE_BYTES = 20 * 1024 * 1024

#: Stands in for the stream alone; all else is asked of the service. `go()` begins.
_STREAM = """
(() => {
  const asked = window.fetch
  let rows = 0, looks = 0, send = null
  window.go = ([most, each, size]) => new Promise(resolve => {
    const look = () => {
      if (looks++ === most) return resolve(rows)
      const made = Array.from({length: each}, () => ({
        n: 1e6 + ++rows, at: new Date().toISOString(), source: 'test', connection: null,
        message_id: `left-open-${rows}`, type: 'track', name: `Left Open ${rows}`, outcome: 'taken',
        code: null, cause: null, reason: null, to: ['hook'], unsupported: [], filtered: [],
        attempt: null, worker: null, body: JSON.stringify({n: rows, text: 'x'.repeat(size)}),
        size_bytes: size, request: null, answer: null,
      }))
      const told = {seen: rows, kept: 200, rejected_seen: 0, rejected_kept: 0}
      const tap = {source: 'test', ...told, rows: made}
      send(`event: tap:test\\ndata: ${JSON.stringify(tap)}\\n\\n`)
      requestAnimationFrame(() => requestAnimationFrame(look))
    }
    look()
  })
  window.fetch = (at, how) => !String(at).startsWith('api/live') ? asked(at, how) : Promise.resolve(
    new Response(new ReadableStream({start(stream) {
      const text = new TextEncoder()
      send = words => stream.enqueue(text.encode(words))
    }})))
})()
"""


def heap_bytes(tab: Tab) -> float:
    """What its scripts hold once garbage is collected."""
    session = tab.page.context.new_cdp_session(tab.page)
    session.send("HeapProfiler.collectGarbage")
    session.send("Performance.enable")
    metrics = session.send("Performance.getMetrics")["metrics"]
    session.detach()
    (used,) = (float(each["value"]) for each in metrics if each["name"] == "JSHeapUsedSize")
    return used


def test_the_debugger_keeps_no_row_that_it_does_not_show(open_tab: OpenTab) -> None:
    """Five thousand rows later it holds five hundred."""
    tab = open_tab("/")
    tab.page.add_init_script(_STREAM)
    tab.open("/sources/test/debugger")
    tab.page.wait_for_function("document.querySelector('.stream')?.textContent === 'Live'")
    before = heap_bytes(tab)
    assert tab.page.evaluate("how => go(how)", [LOOKS, ROWS, BODY_BYTES]) == LOOKS * ROWS
    tab.page.get_by_text(f"Left Open {LOOKS * ROWS}", exact=True).first.wait_for()
    assert heap_bytes(tab) - before < KEPT_ROWS * BODY_BYTES + SPARE_BYTES
