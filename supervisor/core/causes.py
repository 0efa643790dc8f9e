"""From the reason of one failure to the cause that many share, and what a cause asks for.

Owns what of a reason tells it from others only because it was another event, moment or address:
ids, numbers, quoted values, addresses, times. Pure, and linear whatever the reason holds, since
partners and customers' events write it. Must not know where a reason came from.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

#: Characters of a cause at most.
MAX_CAUSE = 200
#: Characters of a reason that are looked at: what comes later tells no cause from another.
MAX_LOOKED_AT = 500
#: Reasons whose cause is remembered. They repeat; each is at most `MAX_LOOKED_AT` long.
CACHED = 2048
#: Times that a reason is gone through at most; nearly all are done after two.
MOST_PASSES = 4
#: What stands where a reason had nothing that can be shown.
NO_REASON = "no reason given"

#: Field names of events and of errors that may stand in quotes as they are: they are no values.
_FIELDS = frozenset(
    {
        *("batch", "context", "integrations", "properties", "traits", "userId", "anonymousId"),
        *("groupId", "previousId", "messageId", "type", "event", "name", "email", "timestamp"),
        *("sentAt", "originalTimestamp", "receivedAt", "writeKey", "error", "errors", "message"),
        *("code", "status", "reason", "detail", "details", "title", "description", "data", "id"),
    }
)
#: Members of an error's JSON whose text says what was wrong.
_TELLING = "error|errors|message|code|reason|detail|title|description|error_description|errorCode"
#: Ends of host names that are told from `properties.total` and from a module's path.
_TLDS = (
    "com|net|org|io|dev|app|ai|cloud|co|eu|de|uk|us|fr|nl|info|biz|gov|edu|internal|local|lan|"
    "localhost|example|test|invalid|svc|arpa"
)
_PARTS = (
    # The most of what reasons hold, and nothing that opens another part. Then what was made of an
    # earlier reason, which stays as it is.
    ("plain", r"[A-Za-z]{1,40}(?=[ ,;)]|$)|[ (){},;!?*&$#|^]+"),
    ("made", r"<(?:id|n|hex|email|url|host|ip|time|path|tag|\.\.\.)>"),
    ("tag", r"</?[A-Za-z!?][^<>]{0,300}>(?:\s?</?[A-Za-z!?][^<>]{0,300}>)*"),
    ("telling", rf'"(?:{_TELLING})"\s?:\s?"[^"\\]{{0,300}}"'),
    ("quoted", r"(?<![\w\"])b?\"[^\"]{0,400}\"|(?<!\w)b?'[^']{0,400}'(?!\w)|`[^`]{0,400}`"),
    (
        "curly",
        "\u201c[^\u201d]{0,400}\u201d|\u2018[^\u2019]{0,400}\u2019|\u00ab[^\u00bb]{0,400}\u00bb",
    ),
    ("url", r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.-]{1,15}://[^\s\"'<>`]{1,500}(?<![:.,;)\]])"),
    ("email", r"(?<![\w.+%-])[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}"),
    (
        "time",
        r"(?<![\w.])\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?)?"
        r"(?:Z|\s?UTC|[+-]\d\d:?\d\d)?(?!\w)"
        r"|(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6}, )?\d{1,2}[ -]"
        r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}[ -]\d{2,4}"
        r"(?: \d\d:\d\d(?::\d\d)?)?(?: GMT| UTC)?(?!\w)"
        r"|(?<![\w.:])\d\d?:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?![\w:])",
    ),
    ("ip", r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?:/\d{1,2}|:\d{1,5})?(?![\w.]*\w)"),
    (
        "ip6",
        r"(?<![\w:.])\[?(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}\]?(?:/\d{1,3}|:\d{1,5})?(?!\w|:\w)",
    ),
    (
        "host",
        rf"(?<![\w.-])(?:[A-Za-z0-9_-]{{1,63}}\.){{1,8}}(?:{_TLDS})\.?(?::\d{{1,5}})?(?![\w-])",
    ),
    ("port", r"(?<=\w)(?<=[a-z]):\d{2,5}(?!\w)"),
    ("path", r"(?<![\w./>])(?:/[\w.@%+~-]{1,100}){2,20}/?"),
    ("hex", r"(?<!\w)0[xX][0-9a-fA-F]{1,64}(?!\w)"),
    # A code that says what was wrong, and not of which event.
    (
        "code",
        r"(?:^|(?<=: )|(?<=; )|(?<=>))[1-5]\d\d(?=$|[ :,;])"
        r"|(?:(?<=refused it: )|(?<=error )|(?<=code )|(?<=Errno )|(?<=status )|(?<=signal ))"
        r"-?\d{1,5}(?=$|[\s:,;\])])"
        r"|(?<![\w-])(?:HTTP/[123](?:\.\d)?|TLSv?1(?:\.\d)?|(?:SSL|ssl)v[23]|IPv[46]|UTF-?(?:8|16)|utf-8"
        r"|SHA-?(?:1|256|512)|MD5|OAuth ?2(?:\.0)?|base64|GA4|[45]xx|v\d{1,2}|[A-Z]{2,12}-\d{1,3})"
        r"(?![\w-]|\.\w)",
    ),
    ("value", r"(?<=\w)=(?!=)[^\s,;&)\]}\"'<>]{1,400}"),
    ("number", r"(?<![\w.])[-+]?\d{1,3}(?:[ ,.]?\d){0,40}%?(?![\w])"),
    ("id", r"(?=[\w-]{0,80}\d)[\w-]{1,400}|[\w+/=-]{41,500}"),
    ("word", r"[^\W\d]{1,40}"),
)


@lru_cache(maxsize=1)
def _token() -> re.Pattern[str]:
    """Any part. Compiled once it is needed: that takes longer than to read the whole module."""
    return re.compile("|".join(f"(?P<{name}>{text})" for name, text in _PARTS))


_PLACEHOLDERS = {
    "tag": "<tag>",
    "url": "<url>",
    "email": "<email>",
    "time": "<time>",
    "ip": "<ip>",
    "ip6": "<ip>",
    "host": "<host>",
    "port": ":<n>",
    "path": "<path>",
    "hex": "<hex>",
    "value": "=<id>",
    "number": "<n>",
    "id": "<id>",
}
_INNER = re.compile(r'("[A-Za-z_]+"\s?:\s?")([^"]*)(")')
#: Controls, marks that turn the direction of text, blanks of no width, halves of pairs.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]+"
)
#: A code within quotes, as vendors write them: `invalid_grant`, `MISSING_FIELD`.
_CODE_WORD = re.compile(r"[A-Za-z]{1,40}(?:_[A-Za-z]{1,40}){1,8}|[A-Z]{3,40}")


_known: dict[str, str] = {}


def cause_of(reason: str) -> str:
    """The cause that a reason is one of: at most `MAX_CAUSE` characters, of one line.

    What differs from event to event is a placeholder in it, such as `<id>` or `"..."`. A cause is
    its own cause. Reasons repeat, so that it mostly costs a look into a cache.
    """
    return _known.get(reason) or _found(reason[:MAX_LOOKED_AT])


def known_cause(reason: str) -> str | None:
    """The same where it costs nothing, since the reason was met before; None where it was not."""
    return _known.get(reason) or _known.get(reason[:MAX_LOOKED_AT])


def _found(reason: str) -> str:
    cause = _known.get(reason)
    if cause is not None:
        return cause
    text = " ".join(_UNSEEN.sub(" ", reason).split())
    # What was replaced may be the neighbour that something else was known by.
    for _ in range(MOST_PASSES):
        once = _normalised(text)
        if once == text:
            break
        text = once
    if len(_known) >= CACHED:
        _known.clear()  # hostile ones cost time, never memory
    cause = _known[reason] = text or NO_REASON
    return cause


def _normalised(text: str) -> str:
    text = " ".join(_token().sub(_replaced, text).split())
    if len(text) <= MAX_CAUSE:
        return text
    # At a blank: half of a placeholder would be read as something else.
    cut = text[: MAX_CAUSE - 4]
    return (cut.rpartition(" ")[0] or cut.rpartition("<")[0] or cut) + " ..."


def _replaced(match: re.Match[str]) -> str:
    kind, text = match.lastgroup, match[0]
    if kind in ("plain", "made", "word", "code"):
        return text
    if kind == "telling":
        return _INNER.sub(
            lambda inner: inner[1] + _token().sub(_replaced, inner[2]) + inner[3], text
        )
    if kind in ("quoted", "curly"):
        mark = text[0] if text[0] != "b" else text[1]
        inner = text.strip("b")[1:-1] if text[0] == "b" else text[1:-1]
        is_plain = inner in _FIELDS or _CODE_WORD.fullmatch(inner) is not None
        closing = text[-1]
        return f"{mark}{inner if is_plain else '...'}{closing}"
    return _PLACEHOLDERS[kind or "id"]


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a cause means, and what to do about it: a sentence each."""

    meaning: str
    action: str


#: The first that is found in a cause says what to do.
_REMEDIES: tuple[tuple[str, Remedy], ...] = (
    (
        r"kills its worker",
        Remedy(
            "The code of the destination ends its process when it handles this event.",
            "Read the exit that the dead letter names, mend the destination, then replay.",
        ),
    ),
    (
        r"worker died|the batch ended",
        Remedy(
            "The worker that had the event ended, and it may have been of another event.",
            "It is sent again by itself; see the exits of the pool if it goes on.",
        ),
    ),
    (
        r"URL to send to is not valid|InvalidURL",
        Remedy(
            "The address in the connection's settings is not one that can be sent to.",
            "Correct it and reload, then replay.",
        ),
    ),
    (
        r"connection is no longer in the config",
        Remedy(
            "The connection was taken out of the config while it had events.",
            "Put it back and replay, or drop the dead letters.",
        ),
    ),
    (
        r"^evicted: ",
        Remedy(
            "The connection has more waiting than it may hold, so its oldest became dead letters.",
            "See what it waits for, raise max_backlog or queue.max_pending, then replay.",
        ),
    ),
    (
        r"^schema: ",
        Remedy(
            "The event is not what the tracking plan says.",
            "Mend what sends it, or the plan, then replay.",
        ),
    ),
    (
        r"egress refused|is not declared by",
        Remedy(
            "The destination wanted to connect to a place that it may not reach.",
            "If it should be reached, add it to the pool's `allow`; else mend the destination.",
        ),
    ),
    (
        r"certificate",
        Remedy(
            "The partner's server shows a certificate that is not trusted.",
            "Check the address in the settings, and the certificate with the partner.",
        ),
    ),
    (
        r"TLS failed|\bSSL\b|handshake",
        Remedy(
            "No encrypted connection to the partner could be made.",
            "Check the address and the proxy; if it lasts, ask the partner.",
        ),
    ),
    (
        r"no such host|[Nn]ame or service not known|getaddrinfo|name server|NXDOMAIN|SERVFAIL"
        r"|Temporary failure in name resolution|has no address|no address for",
        Remedy(
            "The name of the partner's server could not be looked up.",
            "Check the host in the settings and the name servers of this machine.",
        ),
    ),
    (
        r"no connection(?! in time)|[Cc]onnection refused|[Cc]annot connect|unreachable"
        r"|[Nn]o route to host"
        r"|[Cc]onnection reset|reset by peer|[Bb]roken pipe|closed the connection|[Dd]isconnected"
        r"|ECONN|its answer is not HTTP",
        Remedy(
            "The partner's server was not there, or hung up.",
            "It is tried again by itself; if it lasts, check the address and the partner's status.",
        ),
    ),
    (
        r"not finished within|no answer within|no connection in time|[Tt]imed? ?out|TimeoutError"
        r"|DEADLINE_EXCEEDED|RUNNING_TOO_LONG|(?:^|: )(?:408|504)\b",
        Remedy(
            "No answer came in time.",
            "It is tried again by itself; if it lasts, look at the partner's status or raise the "
            "connection's timeout.",
        ),
    ),
    (
        r"MemoryError|[Cc]annot allocate memory|out of memory|Errno 12\b",
        Remedy(
            "The worker ran out of memory.",
            "See the pool's memory and what leaks there; raise the pool's limit if it is too low.",
        ),
    ),
    (
        r"Too many open files|Errno 24\b",
        Remedy(
            "The worker ran out of open files.",
            "See which connection of the pool keeps them open, and mend its destination.",
        ),
    ),
    (
        r"No space left|Errno 28\b|[Rr]ead-only file system|Errno 30\b|disk is full",
        Remedy("A disk is full, or cannot be written.", "Make room on it; the log names which."),
    ),
    (
        r"refused it: (?:601|602)\b|(?:^|: )401\b|[Uu]nauthori[sz]ed|UNAUTHENTICATED"
        r"|invalid_grant|invalid_client|request for a token"
        r"|[Ii]nvalid (?:API |api )?(?:key|token|credentials)|token (?:is )?(?:expired|invalid)"
        r"|[Tt]oken expired|token_(?:expired|revoked|not_found|blocked)|INVALID_SESSION"
        r"|INVALID_LOGIN"
        r"|INVALID_AUTH|authentication|no token|token endpoint|PASSWORD_LOCKOUT|USER_DISABLED"
        r"|[Cc]redentials",
        Remedy(
            "The partner does not accept the credentials.",
            "Put valid ones into the connection's settings and reload; what waits is then sent.",
        ),
    ),
    (
        r"\b429\b|[Tt]oo [Mm]any [Rr]equests|rate.?limit|RATE_LIMIT|REQUEST_LIMIT|[Qq]uota"
        r"|RESOURCE_EXHAUSTED|[Tt]hrottl|[Ss]low down",
        Remedy(
            "The partner wants fewer requests.",
            "It is tried again by itself, more slowly; set the connection's rate_limit to what the "
            "contract allows.",
        ),
    ),
    (
        r"(?:^|: |; )403\b|[Ff]orbidden|[Pp]ermission|[Aa]ccess denied|NOT_PERMITTED"
        r"|is not allowed|not allowed to"
        r"|API_DISABLED|insufficient|INSUFFICIENT",
        Remedy(
            "The credentials are known, but may not do this.",
            "Give the key or user the right at the partner, then replay.",
        ),
    ),
    (
        r"redirects are not followed|(?:^|: )30[12378]\b",
        Remedy(
            "The partner's server sends requests to another address.",
            "Put the address that it leads to into the connection's settings.",
        ),
    ),
    (
        r"(?:^|: |; )413\b|too.large|[Pp]ayload|bytes: .{0,60}at most|ENTITY_TOO_LARGE",
        Remedy(
            "It is larger than what is taken.",
            "Send less in one event or request, or raise the limit that the reason names.",
        ),
    ),
    (
        r"(?:^|: |; )(?:404|410)\b|[Nn]ot [Ff]ound|NOT_FOUND|does not know|no such ",
        Remedy(
            "What the request names is not there at the partner.",
            "Check names and ids in the settings; where a contact has yet to come, replay later.",
        ),
    ),
    (
        r"(?:^|: |; )409\b|already exists|[Cc]onflict|DUPLICATE|ALREADY",
        Remedy(
            "The partner has this already, in another state.",
            "Mostly nothing is to be done; look at one of the events.",
        ),
    ),
    (
        r"(?:^|: |; )5\d\d\b|SERVER_UNAVAILABLE|[Ii]nternal.?(?:[Ss]erver.?)?[Ee]rror|INTERNAL"
        r"|[Uu]navailable|UNAVAILABLE|UNKNOWN_EXCEPTION|TRANSIENT|[Bb]ad [Gg]ateway|HTML page"
        r"|UNABLE_TO_LOCK_ROW|server_error",
        Remedy(
            "The partner's server has a fault.",
            "It is tried again by itself; if it lasts, see the partner's status page.",
        ),
    ),
    (
        r"raised |Traceback|[A-Z]\w+Error\b|returned .{0,40}outcomes|not a sequence of outcomes",
        Remedy(
            "The code of the destination has a fault.",
            "Read the connection's log for the trace, mend the destination, then replay.",
        ),
    ),
    (
        r"queue_full|disk budget|queue holds|max_pending",
        Remedy(
            "The queue is full, so that senders are asked to come again.",
            "See which connection holds most, and raise queue.max_pending if the disk allows.",
        ),
    ),
    (
        r"queue_unavailable|draining|service is stopping|overloaded|too many requests (?:are|of)",
        Remedy(
            "The service could not take events at that time.",
            "Senders try again by themselves; the log says why.",
        ),
    ),
    (
        r"invalid_json|is not JSON|not UTF-8|not_an_object|must be a JSON object|invalid_gzip"
        r"|invalid_deflate|cannot be unpacked|framing is broken|broke off|nested deeper",
        Remedy(
            "What was sent cannot be read.",
            "Mend what sends it: the sample shows where it breaks off.",
        ),
    ),
    (
        r"is required|needs (?:a|an|one|the)\b|must be |is missing|MISSING|has no |[Rr]equired"
        r"|(?:^|: |; )(?:400|422)\b|[Bb]ad [Rr]equest|[Uu]nprocessable|[Ii]nvalid|INVALID"
        r"|refused it|unsupported|not found in|does not say|reserves the event name|skipped it"
        r"|too_long|no messageId",
        Remedy(
            "The event does not hold what is asked for.",
            "Look at a sample, mend what sends it or the connection's mapping, then replay.",
        ),
    ),
    (
        r"gave up after|did not say",
        Remedy(
            "The partner's answers were not what its documentation says.",
            "It is tried again by itself; if it lasts, look at the partner's answers.",
        ),
    ),
    (
        r"retry window is over",
        Remedy(
            "It was tried for as long as the retry window allows.",
            "When what the last error says is mended, replay.",
        ),
    ),
)
_UNKNOWN = Remedy(
    "It is none of the causes that are known here.", "Look at a sample and at the partner's answer."
)


@lru_cache(maxsize=CACHED)
def remedy_of(cause: str) -> Remedy:
    """What a cause, as `cause_of` returns it, means and asks for; a member of a closed table."""
    return next((remedy for pattern, remedy in _REMEDIES if re.search(pattern, cause)), _UNKNOWN)
