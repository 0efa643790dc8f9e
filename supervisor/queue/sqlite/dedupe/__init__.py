"""Which message ids were accepted within the window, in memory and in the queue's database.

`index.py` decides what is remembered and what is done next; `disk.py` has the tables and the long
jobs. Must not know events or sources: an id is sixteen bytes.
"""
