"""The cookie of somebody who logged in: made, and judged. Pure but for randomness and the clock.

Owns its form, `expiry.nonce.mac`. Which key made the mac says the role, so that no field of it can
be changed into another role; each key comes from one token alone. Nothing is kept of a session but
the nonce of one that ended, until it would have expired.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable
from typing import NamedTuple

from supervisor.admin.access import Access
from supervisor.admin.table import Role

#: Seconds that a cookie holds.
LIFETIME_S = 12 * 3600
#: Ended sessions that are remembered, of each role. Past it the one that expires first goes, and
#: with it every session that expires no later.
MOST_ENDED = 10_000
#: Longest text that is looked at: a cookie of ours has about 80 characters.
_LONGEST = 200
_SALT = b"bulkhead console session"


class Proof(NamedTuple):
    """What a cookie that is ours proves. `expiry` is epoch seconds."""

    role: Role
    nonce: str
    expiry: int


class _Ended:
    """Nonces of ended sessions of one role."""

    def __init__(self) -> None:
        self.expiry_of: dict[str, int] = {}
        #: Sessions that expire no later are over, whatever their nonce.
        self.void_until = 0

    def add(self, proof: Proof, now: float) -> None:
        if len(self.expiry_of) >= MOST_ENDED:
            self.expiry_of = {n: expiry for n, expiry in self.expiry_of.items() if expiry > now}
        if len(self.expiry_of) >= MOST_ENDED:
            first = min(self.expiry_of, key=self.expiry_of.__getitem__)
            self.void_until = self.expiry_of.pop(first)
        self.expiry_of[proof.nonce] = proof.expiry

    def has(self, proof: Proof) -> bool:
        return proof.nonce in self.expiry_of or proof.expiry <= self.void_until


class Cookies:
    """Of the tokens that are in force. `now` gives epoch seconds."""

    def __init__(self, access: Access, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._ended = {role: _Ended() for role in Role}
        self._keys: dict[Role, bytes] = {}
        self.follow(access)

    def follow(self, access: Access) -> None:
        """A reload: cookies of a token that is no more in force prove nothing from now on."""
        tokens = {Role.OPERATOR: access.token, Role.VIEWER: access.view_token}
        self._keys = {
            role: _key(token, role) for role, token in tokens.items() if token is not None
        }

    def made(self, role: Role) -> str:
        """A new cookie. Raises KeyError where that role has no token."""
        key = self._keys[role]
        told = f"{int(self._now()) + LIFETIME_S}.{secrets.token_urlsafe(16)}"
        return f"{told}.{_mac(key, told)}"

    def proof(self, cookie: str) -> Proof | None:
        """What a cookie proves; None for one that is forged, over or ended."""
        told, _, mac = cookie.rpartition(".")
        expiry, _, nonce = told.partition(".")
        if len(cookie) > _LONGEST or not (expiry.isascii() and expiry.isdigit()):
            return None
        for role, key in self._keys.items():
            # Compared as bytes: compare_digest refuses text that is not ASCII.
            if hmac.compare_digest(mac.encode("utf-8", "surrogatepass"), _mac(key, told).encode()):
                proof = Proof(role, nonce, int(expiry))
                is_over = proof.expiry <= self._now() or self._ended[role].has(proof)
                return None if is_over else proof
        return None

    def end(self, proof: Proof) -> None:
        """A logout: that cookie proves nothing any more, while this process lives."""
        self._ended[proof.role].add(proof, self._now())


def _key(token: str, role: Role) -> bytes:
    """HKDF with SHA-256 (RFC 5869), one block: the role is what tells the keys apart."""
    extracted = hmac.digest(_SALT, token.encode("utf-8", "surrogatepass"), "sha256")
    return hmac.digest(extracted, f"role {role}".encode() + b"\x01", "sha256")


def _mac(key: bytes, told: str) -> str:
    digest = hmac.digest(key, told.encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
