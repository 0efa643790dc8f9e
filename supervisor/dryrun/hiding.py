"""Texts of requests and answers without secrets, also where one is escaped several times over.

Owns how deep escapes of URLs, of JSON and base64 are looked for within each other; each of them is
what `telemetry/log.py` knows. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.telemetry.log import Redactor, forms_of


def hiding(secrets: Iterable[str]) -> Redactor:
    """What replaces secrets that stand plainly in a text, or behind three escapes at most.

    For a connection's few: each has some thousand forms.
    """
    known = {secret for secret in secrets if secret}
    return Redactor(
        known.union(
            form for secret in known for once in forms_of(secret) for form in forms_of(once)
        )
    )
