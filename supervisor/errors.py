"""Refusals that an operator hears of, whichever part of the service they come from.

Owns their meaning; the admin API owns which HTTP status each becomes. Must not hold what
only one part raises and catches.
"""

from __future__ import annotations


class NotFound(Exception):
    """There is no connection or worker of that name; the text says so and names what there is."""


class Refused(Exception):
    """It exists, but cannot be done to it now; the text says why, and what to do."""


class Busy(Refused):
    """It is done to another just now; the text says to which. Asking again in a second is right."""


class EvidenceFailed(Exception):
    """It could not be had from a worker; the text says why, and what else there is."""
