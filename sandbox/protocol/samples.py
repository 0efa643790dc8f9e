"""What was sent and answered in an attempt that failed: the record, and how much of it is told.

Owns the bounds: the decoder refuses what is more, and an honest worker cuts what it tells to them.
All of it is a worker's word, and strangers' text.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

#: Longest method and URL, name and value of a header, in characters, and most headers.
MAX_METHOD, MAX_URL, MAX_HEADER_NAME, MAX_HEADER, MAX_HEADERS = 16, 1000, 64, 200, 12
#: Longest body of a request and of an answer, in bytes; of a longer one its digest is told.
MAX_REQUEST_BODY, MAX_ANSWER_BODY = 4096, 2048
#: Samples that a worker tells in a second; the supervisor listens to twice as many.
SAMPLES_PER_S = 4

_Method = Annotated[str, Meta(max_length=MAX_METHOD)]
_Url = Annotated[str, Meta(max_length=MAX_URL)]
_Name = Annotated[str, Meta(max_length=MAX_HEADER_NAME)]
_Value = Annotated[str, Meta(max_length=MAX_HEADER)]
_Headers = Annotated[dict[_Name, _Value], Meta(max_length=MAX_HEADERS)]
_Size = Annotated[int, Meta(ge=0, le=2**53)]
_Digest = Annotated[str, Meta(max_length=16)]


class SentRequest(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A request, its credentials left out.

    `size_bytes` is that of the whole body, before it was compressed; `digest` stands for a body
    that is too long to be told, and is "" where it is told.
    """

    method: _Method
    url: _Url
    headers: _Headers
    body: Annotated[bytes, Meta(max_length=MAX_REQUEST_BODY)]
    size_bytes: _Size
    digest: _Digest


class GotAnswer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """An answer; its fields are as those of a request. `status` is that of HTTP."""

    status: Annotated[int, Meta(ge=0, le=9999)]
    headers: _Headers
    body: Annotated[bytes, Meta(max_length=MAX_ANSWER_BODY)]
    size_bytes: _Size
    digest: _Digest
