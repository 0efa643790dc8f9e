"""Which connection goes next, how much at once, and when again.

Pure; shares nothing with its sibling rooms.
"""
