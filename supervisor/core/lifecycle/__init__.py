"""The life of one worker and the layout of one pool.

Pure; shares nothing with its sibling rooms.
"""
