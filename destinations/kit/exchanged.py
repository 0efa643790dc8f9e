"""What was sent and answered in an attempt that failed, on its way to whoever keeps samples.

Owns where credentials stand in a request, and that they are left out there: headers of
authentication, and what the connection's settings fed, in the URL, headers and body. A failure is
told with its own exchange alone: one that made no request has none. Pure but for the context.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Protocol
from urllib.parse import unquote, unquote_plus

from destinations.kit.outcomes import Failed, Outcome, Retry
from destinations.kit.requests import Request, Response

#: What stands where a credential was.
LEFT_OUT = "(left out)"
#: Shortest text of settings that is sought, in characters: every second field has a shorter one.
_LEAST_CHARS = 4
#: Most texts of settings that are sought.
_MOST_TEXTS = 500
#: The names of headers, of parameters and of fields that hold credentials, without separators.
_CREDENTIAL = re.compile(
    r"auth(?!or(?!i))|token|secret|passw|passphrase|apikey|accesskey|privatekey|signature|credential"
    r"|cookie|assertion|bearer|^key$|^sig$|jwt",
)
_NOISE = re.compile(r"[^a-z0-9]")
#: A string of JSON under a key.
_FIELD = re.compile(rb'"([^"\\]{1,64})"(\s*:\s*)"((?:[^"\\]|\\.)*)"')
_ORIGIN = re.compile(r"(https?://)(?:[^/?#@]*@)?([^/?#]*)", re.IGNORECASE)


class Exchanged(Protocol):
    """Hears of exchanges whose outcome is no delivery."""

    def __call__(self, outcome: Outcome, request: Request, said: Response | Outcome) -> None:
        """`outcome` is the very object that is returned or reported for one or more events."""


#: What this task has sent last, as it went out, and what came of it.
last_exchange: ContextVar[tuple[Request, Response | Outcome] | None] = ContextVar(
    "last_exchange", default=None
)
#: Who hears of failed exchanges; None: nobody. The runner sets it in each batch's task.
current_exchanged: ContextVar[Exchanged | None] = ContextVar("current_exchanged", default=None)


def tell(outcome: Outcome, said: Response | Outcome, own: bytes | None = None) -> None:
    """Hand on the exchange that `said` came of, where the outcome is a failure.

    `own` is what of the request's body is this event's, where it has others' in it, too.
    """
    heard = current_exchanged.get()
    if heard is None or not isinstance(outcome, (Retry, Failed)):
        return
    last = last_exchange.get()
    if last is None or last[1] is not said:
        return  # what came is not of this task's last request: a token's renewal, say
    request = last[0]
    if own is not None and request.body:
        request = Request(request.url, own, request.headers, request.method)
    heard(outcome, request, said)


class Credentials:
    """Leaves out of requests and answers what the settings of one connection have put there."""

    def __init__(self, settings: Mapping[str, Any]) -> None:  # Any: the destination's own schema
        texts = [text for text in _texts(settings) if len(text) >= _LEAST_CHARS][:_MOST_TEXTS]
        self._texts = frozenset(texts)
        # Whole addresses from settings: hooks have their secrets in the path.
        self._bases = sorted({text for text in texts if _ORIGIN.match(text)}, key=len, reverse=True)
        forms = {form for text in texts for form in _json_forms(text)}
        self._quoted = sorted(forms, key=len, reverse=True)

    def url(self, url: str) -> str:
        """A URL without who asks, and without what settings have put into its path and query."""
        origin = _ORIGIN.match(url)
        if origin is None:
            return LEFT_OUT
        place = origin[1] + origin[2]
        rest = url[origin.end() :]
        for base in self._bases:
            if url.startswith(base):
                own = len(base) - origin.end()
                if own > 1:  # more than a slash
                    rest = f"/{LEFT_OUT}{rest[own:]}"
                break
        path, mark, query = rest.partition("?")
        steps = [LEFT_OUT if unquote(step) in self._texts else step for step in path.split("/")]
        return place + "/".join(steps) + mark + self._form(query)

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Headers without those of authentication, and without those of settings."""
        return {str(name): self._header(str(name), str(of)) for name, of in headers.items()}

    def body(self, body: bytes) -> bytes:
        """JSON or a form without what settings have put there; anything else as it is."""
        if body[:1] in (b"{", b"[") or body[:16].lstrip()[:1] in (b"{", b"["):
            for form in self._quoted:
                body = body.replace(form, _QUOTED)
            return _FIELD.sub(_field, body)
        try:
            text = body.decode("ascii")
        except UnicodeDecodeError:
            return body
        return self._form(text).encode() if "=" in text and "\n" not in text else body

    def _header(self, name: str, value: str) -> str:
        if _is_credential(name):
            scheme, blank, _ = value.partition(" ")
            return f"{scheme} {LEFT_OUT}" if blank and scheme.isalpha() else LEFT_OUT
        return LEFT_OUT if value in self._texts else value

    def _form(self, form: str) -> str:
        pairs = []
        for pair in form.split("&"):
            name, equals, value = pair.partition("=")
            is_fed = _is_credential(unquote_plus(name)) or unquote_plus(value) in self._texts
            pairs.append(f"{name}={LEFT_OUT}" if equals and is_fed else pair)
        return "&".join(pairs)


_QUOTED = b'"%b"' % LEFT_OUT.encode()


def _is_credential(name: str) -> bool:
    return _CREDENTIAL.search(_NOISE.sub("", name.lower())) is not None


def _field(found: re.Match[bytes]) -> bytes:
    if not _is_credential(found[1].decode("utf-8", "replace")):
        return found[0]
    return b'"%b"%b%b' % (found[1], found[2], _QUOTED)


def _json_forms(text: str) -> set[bytes]:
    plain = json.dumps(text, ensure_ascii=False).encode("utf-8", "replace")
    return {plain, plain.replace(b"/", b"\\/"), json.dumps(text).encode()}


def _texts(value: Any) -> Iterator[str]:  # Any: the destination's own schema
    match value:
        case str():
            yield value
        case Mapping():
            for below in value.values():
                yield from _texts(below)
        case list() | tuple():
            for below in value:
                yield from _texts(below)
        case _:
            pass
