"""Runs beside the service: a dry run of events, the self-test of the jail, the check of a config.

Owns short-lived workers for commands. Must not touch a running service or its queue.
"""
