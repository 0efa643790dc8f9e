"""Which names of fields hold what is somebody's own: a person's data, or a secret. Pure.

Owns the built-in list, and when a key is itself a value: an object by e-mail address or id has
people for keys. Names count in any case style: `email`, `E-Mail`, `user_email_address`.
"""

from __future__ import annotations

import re
from enum import Enum
from functools import lru_cache

#: Longest key that is remembered, in characters, so that the memory is bounded.
_REMEMBERED_CHARS = 64
#: Longest key that is shown as it is, in characters, and most digits in it.
_KEY_CHARS, _KEY_DIGITS = 64, 4
_KEY = re.compile(r"[^\W\d][\w$ .:/-]*|\$[\w$ .:/-]+")
_DIGITS = re.compile(r"\d")

#: By the normal form of a name. Where it may stand anywhere in a name, a suffix as in
#: `emailOptIn` is masked too: that costs a flag, and the other way round costs an address.
_PERSONAL = re.compile(
    r"e?mail|phone|mobile|msisdn|whatsapp|^fax|^tel(number|no)?$"
    r"|address|street|^city$|^town$|zip(code)?$|post(al)?code$|^postal$"
    r"|^lat(itude)?$|^(lng|lon|longitude)$|^geo"
    r"|^(first|last|full|middle|user|display|nick|given|family|sur|maiden|legal|contact|customer"
    r"|person|billing|shipping)?names?$"
    r"|birth|^dob$|^ssn$|socialsecurity|passport|taxid|nationalid|iban|^bic$"
    r"|^ip$|ipaddr|^ipv[46]$|(client|remote|user)ip$"
    r"|card(number|no)$|creditcard|^pan$|^cvv|^cvc"
)
_SECRET = re.compile(
    r"passw(or)?d|passphrase|secret|token|apikey|accesskey|privatekey|writekey|signature"
    r"|credential|cookie|authorization|oauth|^auth$|assertion|^jwt|session(id|key)$|^pin$|^otp$|bearer"
)


def normal(name: str) -> str:
    """A name without case and separators."""
    return _remembered(name) if len(name) <= _REMEMBERED_CHARS else _normal(name)


def is_secret(name: str) -> bool:
    """Whether a field of this name holds a secret."""
    return _kind(name) is _Kind.SECRET


def is_personal(name: str) -> bool:
    """Whether a field of this name holds a person's data, or a secret."""
    return _kind(name) is not _Kind.OTHER


def is_plain_key(key: str) -> bool:
    """Whether a key is a word that programmers chose, and no id, address or number of anybody."""
    return (
        len(key) <= _KEY_CHARS
        and _KEY.fullmatch(key) is not None
        and len(_DIGITS.findall(key)) <= _KEY_DIGITS
    )


class _Kind(Enum):
    OTHER = 0
    PERSONAL = 1
    SECRET = 2


def _kind(name: str) -> _Kind:
    return _remembered_kind(name) if len(name) <= _REMEMBERED_CHARS else _looked_up(name)


def _looked_up(name: str) -> _Kind:
    plain = normal(name)
    if _SECRET.search(plain):
        return _Kind.SECRET
    return _Kind.PERSONAL if _PERSONAL.search(plain) else _Kind.OTHER


def _normal(name: str) -> str:
    return "".join(c for c in name.casefold() if c.isalnum())


# Senders choose the names, but most of them from the same few hundred.
_remembered = lru_cache(4096)(_normal)
_remembered_kind = lru_cache(4096)(_looked_up)
