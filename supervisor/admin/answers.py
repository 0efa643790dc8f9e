"""Answers of the admin API: their form, and what a request's path names.

Owns the JSON around answers and errors: `{"error": "token_in_snake_case", "message": "..."}`.
"""

from __future__ import annotations

import msgspec
from aiohttp import web

from supervisor.admin.parameters import MAX_TEXT, BadRequest


def json_answer(value: object, status: int = 200) -> web.Response:
    """Any value that msgspec encodes."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )


def error_answer(status: int, error: str, message: str) -> web.Response:
    """An error in the form of all of them."""
    return json_answer({"error": error, "message": message}, status)


def name_of(request: web.Request, key: str) -> str:
    """What stands in the path at `{key}`. Raises BadRequest where that is longer than any name."""
    name = request.match_info[key]
    if len(name) > MAX_TEXT:
        raise BadRequest(f"{key}: longer than {MAX_TEXT} characters")
    return name
