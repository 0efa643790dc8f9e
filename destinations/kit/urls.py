"""What is wrong with the URL of a server that secrets are sent to. Pure."""

from __future__ import annotations

from yarl import URL

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def base_url_errors(key: str, url: str) -> list[str]:
    """What is wrong with a setting that names a server, each opening with its key.

    It has a scheme and a host, `https` unless the host is this machine (as for
    replayed tapes), no user, query or fragment. The value is not repeated.
    """
    try:
        parsed = URL(url)
        if parsed.scheme not in ("http", "https") or not parsed.host:
            return [f"{key}: must begin with https:// and name a host"]
        if parsed.scheme == "http" and parsed.host not in _LOOPBACK:
            return [f"{key}: must begin with https://, since secrets are sent to it"]
        if parsed.user is not None or parsed.password is not None:
            return [f"{key}: must hold no user name or password"]
        if parsed.query_string or parsed.fragment:
            return [f"{key}: must end with its path, without ? and #"]
        if not parsed.port:
            return [f"{key}: its port must be from 1 to 65535"]
    except ValueError:
        return [f"{key}: is not a valid URL, like https://api.example.com"]
    return []
