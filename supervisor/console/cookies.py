"""The cookie of somebody who logged in: made, and judged. Pure but for randomness and the clock.

Owns its form, `expiry.nonce.mac`. Which key made the mac says the role, so that no field of it can
be changed into another role; each key comes from one token alone, so that a session outlives a
restart. Nothing is kept of one but the nonce of one that ended, until it would have expired.
"""

from __future__ import annotations

import base64
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

from supervisor.admin.access import Access
from supervisor.admin.table import Role
from supervisor.state.logouts import LoggedOut

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

    def __init__(self, kept: LoggedOut, now: float) -> None:
        soonest_first = sorted(kept.expiry_of.items(), key=lambda one: one[1])
        alive = [one for one in soonest_first if one[1] > now]
        #: Sessions that expire no later are over, whatever their nonce.
        self.void_until = max(
            # No session that was begun by now expires later, whatever the file says.
            min(kept.void_until, int(now) + LIFETIME_S),
            *(expiry for _, expiry in alive[:-MOST_ENDED]),
            0,
        )
        self.expiry_of = dict(alive[-MOST_ENDED:])

    def add(self, proof: Proof, now: float) -> None:
        if len(self.expiry_of) >= MOST_ENDED:
            self.expiry_of = {n: expiry for n, expiry in self.expiry_of.items() if expiry > now}
        if len(self.expiry_of) >= MOST_ENDED:
            first = min(self.expiry_of, key=self.expiry_of.__getitem__)
            self.void_until = max(self.void_until, self.expiry_of.pop(first))
        self.expiry_of[proof.nonce] = proof.expiry

    def has(self, proof: Proof) -> bool:
        return proof.nonce in self.expiry_of or proof.expiry <= self.void_until

    def kept(self, now: float) -> LoggedOut:
        alive = {nonce: expiry for nonce, expiry in self.expiry_of.items() if expiry > now}
        return LoggedOut(alive, self.void_until)


class Cookies:
    """Of the tokens that are in force. `now` gives epoch seconds.

    `ended` is what an earlier run gave as `ended()`; None where that is not known: then all that
    are out are over.
    """

    def __init__(
        self,
        access: Access,
        now: Callable[[], float] = time.time,
        ended: Mapping[str, LoggedOut] | None = MappingProxyType({}),
    ) -> None:
        self._now = now
        self._keys: dict[Role, bytes] = {}
        at = now()
        if ended is None:
            ended = dict.fromkeys(Role, LoggedOut(void_until=int(at) + LIFETIME_S))
        self._ended = {role: _Ended(ended.get(role, LoggedOut()), at) for role in Role}
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
        # Past all that are over: whoever logs in now is in, whatever was ended in this second.
        expiry = max(int(self._now()) + LIFETIME_S, self._ended[role].void_until + 1)
        told = f"{expiry}.{secrets.token_urlsafe(16)}"
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
        """A logout: that cookie proves nothing any more."""
        self._ended[proof.role].add(proof, self._now())

    def ended(self) -> Mapping[str, LoggedOut]:
        """What is to be known of ended sessions at the next start, by role."""
        return {role.value: ended.kept(self._now()) for role, ended in self._ended.items()}


def _key(token: str, role: Role) -> bytes:
    """HKDF with SHA-256 (RFC 5869), one block: the role is what tells the keys apart."""
    extracted = hmac.digest(_SALT, token.encode("utf-8", "surrogatepass"), "sha256")
    return hmac.digest(extracted, f"role {role}".encode() + b"\x01", "sha256")


def _mac(key: bytes, told: str) -> str:
    digest = hmac.digest(key, told.encode("utf-8", "surrogatepass"), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
