"""How much a worker may write, whatever it does to hold more than its folder shows."""

from __future__ import annotations

import ctypes
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.protocol import SCRATCH_DISK_BYTES, SCRATCH_ENTRIES, SCRATCH_TMPFS_BYTES, Withheld
from supervisor.workers.resources import scratch as module
from supervisor.workers.resources.disk_usage import MAX_DEPTH
from supervisor.workers.resources.scratch import Scratch
from tests.harness.jailed import ORDINARY_UID, ROOT

CHILD = 7
MIB = 1024 * 1024
NOBODY = Withheld("it is the service's own")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Scratch]:
    """On disk, with a folder for one worker."""
    scratch = Scratch(tmp_path / "scratch", may_mount=False)
    scratch.prepare()
    assert scratch.create(CHILD, NOBODY) is None
    yield scratch
    scratch.remove(CHILD)


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Scratch]:
    """In memory, with a folder for one worker."""
    scratch = Scratch(tmp_path / "scratch")
    scratch.prepare()
    assert scratch.create(CHILD, NOBODY) is None
    if scratch.no_tmpfs:
        pytest.skip(scratch.no_tmpfs)
    yield scratch
    scratch.remove(CHILD)


def opened(scratch: Scratch) -> Path:
    """The worker's folder, as the worker has it."""
    held = scratch.descriptor(CHILD)
    assert held is not None
    return Path(f"/proc/self/fd/{held}")


def excess(scratch: Scratch) -> str:
    return scratch.excess(CHILD, [os.getpid()])


def sized(path: Path, size_bytes: int) -> int:
    """An open file of so many bytes on disk."""
    held = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    os.posix_fallocate(held, 0, size_bytes)
    return held


def test_small_files_are_no_excess(disk: Scratch) -> None:
    """What is within the allowance, and what is merely claimed, costs nothing."""
    held = sized(opened(disk) / "small", MIB)
    os.ftruncate(held, 10 * SCRATCH_DISK_BYTES)  # a hole takes no blocks
    os.close(held)
    assert excess(disk) == ""


@pytest.mark.parametrize("hide", ["no", "unlinked", "tmpfile", "moved", "mapped"])
def test_files_count_however_they_are_held(disk: Scratch, hide: str) -> None:
    """By a name deep inside, by a descriptor without a name, by nothing but a map."""
    folder = opened(disk)
    page = None
    if hide == "tmpfile":
        held = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o600)
        os.posix_fallocate(held, 0, SCRATCH_DISK_BYTES + MIB)
    else:
        held = sized(folder / "file", SCRATCH_DISK_BYTES + MIB)
    if hide == "moved":
        (folder / "a" / "b").mkdir(parents=True)
        (folder / "file").rename(folder / "a" / "b" / "file")
    if hide in ("unlinked", "mapped"):
        (folder / "file").unlink()
    if hide == "mapped":
        page = _map(held)
        os.close(held)
    said = excess(disk)
    assert ("mapped" if hide == "mapped" else "bytes in its scratch folder") in said
    if page is not None:
        _unmap(page)
    else:
        os.close(held)


def _map(held: int) -> int:
    """Map one page of a file; without Python, which would keep a descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(None, mmap.PAGESIZE, mmap.PROT_READ, mmap.MAP_PRIVATE, held, 0)
    assert address not in (None, ctypes.c_void_p(-1).value)
    return int(address)


def _unmap(address: int) -> None:
    ctypes.CDLL(None).munmap(ctypes.c_void_p(address), mmap.PAGESIZE)


def test_a_library_that_was_replaced_on_disk_is_no_file_of_the_worker(
    disk: Scratch, tmp_path: Path
) -> None:
    """What is mapped and deleted elsewhere on the same disk is not counted."""
    held = sized(tmp_path / "library.so", MIB)
    (tmp_path / "library.so").unlink()
    page = _map(held)
    os.close(held)
    assert excess(disk) == ""
    _unmap(page)


def test_one_file_with_many_names_counts_once(disk: Scratch) -> None:
    """Links and descriptors of one file take its blocks once."""
    folder = opened(disk)
    held = sized(folder / "file", SCRATCH_DISK_BYTES // 2 + MIB)
    os.link(folder / "file", folder / "again")
    assert excess(disk) == ""
    os.close(held)


def test_folders_too_deep_are_an_excess(disk: Scratch) -> None:
    """Looking takes a descriptor for each folder that lies in the other."""
    (opened(disk) / "/".join("d" * MAX_DEPTH)).mkdir(parents=True)
    assert excess(disk) == ""
    (opened(disk) / "/".join("d" * (MAX_DEPTH + 1))).mkdir(parents=True)
    assert f"more than {MAX_DEPTH} deep" in excess(disk)


def test_too_many_entries_are_an_excess(disk: Scratch) -> None:
    """Looking takes no longer than so many entries."""
    folder = opened(disk)
    for number in range(SCRATCH_ENTRIES):
        (folder / str(number)).touch()
    assert excess(disk) == ""
    (folder / "one more").touch()
    assert f"more than {SCRATCH_ENTRIES} files" in excess(disk)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes an ordinary user")
def test_what_cannot_be_looked_at_is_an_excess(open_folder: Path) -> None:
    """A folder that its owner, the service's own user, has closed has no more room for it."""
    program = (
        "import os, sys; from pathlib import Path\n"
        "from sandbox.protocol import Withheld\n"
        "from supervisor.workers.resources.scratch import Scratch\n"
        f"os.setgroups([]); os.setresgid(*3 * [{ORDINARY_UID}])\n"
        f"os.setresuid(*3 * [{ORDINARY_UID}])\n"
        "scratch = Scratch(Path('scratch').absolute()); scratch.prepare()\n"
        "scratch.create(1, Withheld(''))\n"
        "assert 'CAP_SYS_ADMIN' in scratch.text, scratch.text\n"
        "assert not scratch.excess(1, [os.getpid()])\n"
        "Path('scratch/1/closed').mkdir(); Path('scratch/1/closed').chmod(0)\n"
        "assert 'cannot be counted' in scratch.excess(1, [os.getpid()])\n"
        "scratch.remove(1); assert not os.listdir('scratch')"
    )
    open_folder.chmod(0o777)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=open_folder,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_little_is_allowed_while_the_disk_is_short(
    disk: Scratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the queue needs is out of workers' reach: they are ended long before it is taken."""
    held = sized(opened(disk) / "file", module.SHORT_BYTES + MIB)
    os.close(held)
    assert excess(disk) == ""
    monkeypatch.setattr(module, "KEPT_FREE_BYTES", 2**63)
    assert "free on the disk" in excess(disk)


def test_the_kernel_bounds_a_tmpfs(tmpfs: Scratch) -> None:
    """Unlinked files and all: it takes no more, counts as memory, and is said to be full."""
    folder = opened(tmpfs)
    assert excess(tmpfs) == ""
    held = sized(folder / "file", SCRATCH_TMPFS_BYTES // 2)
    (folder / "file").unlink()
    assert tmpfs.memory_bytes(CHILD) == SCRATCH_TMPFS_BYTES // 2
    with pytest.raises(OSError, match="No space"):
        os.posix_fallocate(held, SCRATCH_TMPFS_BYTES // 2, SCRATCH_TMPFS_BYTES)
    os.posix_fallocate(held, SCRATCH_TMPFS_BYTES // 2, SCRATCH_TMPFS_BYTES // 2 - mmap.PAGESIZE)
    assert "bytes in its scratch folder" in excess(tmpfs)
    os.close(held)
    assert excess(tmpfs) == ""
    for number in range(SCRATCH_ENTRIES + 1):
        (folder / str(number)).touch()
    with pytest.raises(OSError, match="No space"):
        (folder / "one more").touch()
    assert f"more than {SCRATCH_ENTRIES} files" in excess(tmpfs)


def test_nothing_in_a_tmpfs_can_be_executed_or_mapped_to_be(tmpfs: Scratch) -> None:
    """Whatever a worker writes there, it stays data."""
    folder = opened(tmpfs)
    program = folder / "true"
    program.write_bytes(Path("/bin/true").read_bytes())
    program.chmod(0o700)
    with pytest.raises(PermissionError):
        subprocess.run([program], pass_fds=[int(folder.name)], check=False)
    with open(program, "rb") as file, pytest.raises(PermissionError):
        mmap.mmap(file.fileno(), 4096, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)


def test_a_tmpfs_is_in_no_tree_and_ends_with_its_descriptors(tmpfs: Scratch) -> None:
    """Nothing is mounted that a service that was killed would leave behind."""
    held = tmpfs.descriptor(CHILD)
    assert held is not None
    (Path(f"/proc/self/fd/{held}") / "file").write_text("x")
    mounts = Path("/proc/self/mountinfo").read_text()
    assert str(tmpfs.folder) not in mounts
    assert not list(tmpfs.folder.iterdir())
    assert not tmpfs.is_empty(CHILD)
    tmpfs.remove(CHILD)
    assert tmpfs.descriptor(CHILD) is None
    os.close(held)
