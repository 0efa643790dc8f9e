"""What is an e-mail address. Pure, and of linear cost.

The text before and after one `@`, neither blank, and a dot inside of the host; no blanks anywhere.
RFC 5321, section 4.5.3.1, allows 64 octets before the `@` and 255 behind it.
"""

from __future__ import annotations

#: Longest address, in characters.
MOST_CHARS = 320


def is_email(text: str) -> bool:
    """Whether the text is an address and nothing else."""
    if len(text) > MOST_CHARS or text.count("@") != 1:
        return False
    local, _, host = text.partition("@")
    # A dot that is neither the first nor the last character of the host.
    return bool(local) and "." in host[1:-1] and not any(map(str.isspace, text))


def email_in(given: str | None) -> str | None:
    """An id that is an e-mail address; else None."""
    return given if given and is_email(given) else None
