"""Whose fault it was, and who runs apart.

Pure; shares nothing with its sibling rooms.
"""
