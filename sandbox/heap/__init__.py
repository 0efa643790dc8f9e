"""What a worker's memory holds: snapshots of the heap, and reports of what fills it.

`snapshot.write` runs in a forked copy of a worker and writes one file; it is the
only door to the modules that walk (`walk`, `plans`, `roots`, `addresses`,
`room`, `spool`, `strings`) and write (`heapsnapshot`, `summary`). `report` is a program
of its own (`python -m sandbox.heap.report`), which reads such a file and trusts
nothing in it. README.md says what a file holds and what is left out of it.
"""
