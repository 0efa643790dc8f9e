"""Messages between supervisor and zygote, which trust each other: one datagram each.

They travel on a SEQPACKET pair.
"""

from __future__ import annotations

import msgspec

from sandbox.protocol.messages import Message


class Limits(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """What one worker may use. Memory is in bytes, open files are counted.

    `block_timeout_s`: its event loop may be silent for so long.
    """

    memory_limit: int
    memory_soft_limit: int
    max_open_files: int
    block_timeout_s: float


class Withheld(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """Why a worker is not given something that its jail could use."""

    reason: str


#: Descriptors that travel with a `Spawn`, in this order. `wire` is the stream of frames;
#: `channel` is SEQPACKET, for what carries descriptors itself: a stream may lose those. `page`
#: is the file of the marker page, see `page.py`; faulthandler writes into `stacks`, which was
#: opened before anything could go wrong; `output` is the writing end of a pipe, for standard output
#: and error. `scratch` is the folder for its files, and comes last since not every worker has one:
#: no path leads to a tmpfs of its own, nor below the state directory once the service's user is
#: given up.
DESCRIPTORS = ("wire", "channel", "page", "stacks", "output", "scratch")


class Spawn(Message, frozen=True, array_like=True, tag=32):
    """Fork a worker; its ends of `DESCRIPTORS` travel with the datagram.

    `destinations` is (name, class path or None for a built-in one). A worker
    that is to `declare` describes them and validates settings, and serves no
    batches. `profile` and `ca_file` are the config's, of its sandbox; `uid` is
    a user that no other worker has, `cgroup` the path of a control group to
    join, and `write_paths` are folders that it may write to beside its scratch
    folder, which travels as a descriptor where none is withheld. `ca_file` is
    absolute and free of links. It starts with that `niceness`, 0 to 19.
    `plugin_origins` are the folders that those in `plugin_paths` are copies of. It
    carries no settings and no secrets.
    """

    child: int
    label: str
    destinations: list[tuple[str, str | None]]
    plugin_paths: list[str]
    limits: Limits
    profile: str
    ca_file: str | None
    declare: bool
    uid: int | Withheld
    cgroup: str | Withheld
    scratch: Withheld | None
    write_paths: list[str]
    niceness: int = 0
    plugin_origins: tuple[str, ...] = ()


class Spawned(Message, frozen=True, array_like=True, tag=33):
    """The worker's process id; it is the supervisor's child by the time this is read."""

    child: int
    pid: int


class SpawnFailed(Message, frozen=True, array_like=True, tag=34):
    """The fork failed: no processes or memory left."""

    child: int
    reason: str


class Warm(Message, frozen=True, array_like=True, tag=35):
    """The zygote has imported what workers share, and takes requests; `reaper` is the process id
    of the process that ends what its workers leave behind, and outlives it."""

    reaper: int


FromZygote = Spawned | SpawnFailed | Warm
#: Largest datagram between supervisor and zygote, in bytes.
MAX_DATAGRAM = 64 * 1024
