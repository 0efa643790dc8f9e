"""The SQLite engine of the queue: one file, one writer thread, all that is pending in windows.

`engine.py` has the class behind the `Queue` protocol. Nothing outside `supervisor.queue` may import
this package (`supervisor.queue.engines` builds what is configured), and nothing outside this
package may import `sqlite3`. README.md says what each module owns.
"""
