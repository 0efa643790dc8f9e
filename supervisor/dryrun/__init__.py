"""Runs beside the service: an event tried, the jail tested, a config checked.

Owns short-lived workers for commands. Must not touch a running service or its queue.
"""
