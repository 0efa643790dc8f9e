"""Paths of a config lead workers to nothing that is not theirs, however they are written."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

import supervisor
from supervisor.config import ConfigError, load
from supervisor.config.places import FileTree, Spot

REPOSITORY = Path(supervisor.__file__).parents[1]


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder with a config's surroundings: plugins, state, secrets, folders to write to."""
    for name in ("etc/secrets", "plugins/package", "state/code/1", "out/deep", "other"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "etc/secrets/key").write_text("a secret")
    return tmp_path


def errors(world: Path, text: str) -> list[str]:
    """What is wrong with a config of this text, in `etc`."""
    path = world / "etc" / "b.toml"
    path.write_text(text.replace("WORLD", str(world)))
    try:
        load(path, environ={}, builtin={"webhooks"})
    except ConfigError as error:
        return [one.removeprefix(f"{path}: ") for one in error.errors]
    return []


CONFIG = """
[service]
state_dir = "../state"
plugin_paths = ["../plugins"]
[sources.web]
write_key = { file = "secrets/key" }
[pools.default]
destinations = ["*"]
write_paths = %s
"""

Change = Callable[[Path], object]


def nothing(world: Path) -> None:
    """As it is."""


def linked(world: Path) -> None:
    """Links to the state, and by another link into the plugins."""
    (world / "link").symlink_to(world / "state")
    (world / "one").symlink_to("two")
    (world / "two").symlink_to("plugins/package")


def released(world: Path) -> None:
    """The plugins are where a link says that workers could change."""
    (world / "plugins").rename(world / "release")
    (world / "out" / "current").symlink_to(world / "release")
    (world / "plugins").symlink_to(world / "out" / "current")


#: What is done to the surroundings, the folder that workers may write to, and what it meets.
MEETINGS: dict[str, tuple[Change, str, str]] = {
    "the plugin folder": (nothing, "../plugins", "is, or holds, service.plugin_paths[0]"),
    "a folder in it": (nothing, "../plugins/package", "lies in service.plugin_paths[0]"),
    "a folder around all": (nothing, "..", "is, or holds, service.plugin_paths[0]"),
    "the state": (nothing, "../state", "is, or holds, service.state_dir"),
    "the kept code": (nothing, "../state/code/1", "lies in service.state_dir"),
    "dots": (nothing, "../out/deep/../../state/code", "lies in service.state_dir"),
    "the config's folder": (nothing, ".", "holds the config"),
    "a secret's folder": (nothing, "secrets", "holds a file with a secret"),
    "a link to the state": (linked, "../link", "is, or holds, service.state_dir"),
    "a link to a link into plugins": (linked, "../one", "lies in service.plugin_paths[0]"),
    "where the link to the plugins stands": (
        released,
        "../out",
        "holds a name on the way to service.plugin_paths[0]",
    ),
    "our own code": (nothing, str(REPOSITORY), "Bulkhead's own code"),
    "a package of ours": (nothing, str(REPOSITORY / "sandbox"), "Bulkhead's own code"),
}


@pytest.mark.parametrize("meeting", MEETINGS)
def test_workers_write_to_nothing_of_ours(world: Path, meeting: str) -> None:
    """Such a folder is refused, with what it meets, and one beside it is not."""
    change, folder, meets = MEETINGS[meeting]
    change(world)
    (error,) = errors(world, CONFIG % f'["../out/deep", "{folder}"]') or [""]
    assert error.startswith("pools.default.write_paths[1]: "), error
    assert meets in error
    assert error.endswith("name a folder apart from it")
    if folder != "../out":
        assert errors(world, CONFIG % '["../out/deep", "../other"]') == []


def test_folders_that_workers_write_to_do_not_lie_in_one_another(world: Path) -> None:
    """Who has the outer one could put a link in the place of the inner one; one may be shared."""
    inner = '[pools.other]\ndestinations = ["webhooks"]\nwrite_paths = ["../out%s"]\n'
    (error,) = errors(world, CONFIG % '["../out"]' + inner % "/deep")
    assert error.startswith("pools.default.write_paths[0]: ")
    assert "holds the place of pools.other.write_paths[0]" in error
    assert errors(world, CONFIG % '["../out"]' + inner % "") == []


def test_sockets_and_certificates_are_ours(world: Path) -> None:
    """Who may change a socket's folder answers in our place."""
    listening = '[admin]\nlisten = "unix:../out/admin.sock"\n'
    (error,) = errors(world, CONFIG % '["../out"]' + listening)
    assert "holds a name on the way to admin.listen" in error or "holds admin.listen" in error
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(world / "out/admin.sock"))
    (error,) = errors(world, CONFIG % '["../out"]' + listening)
    assert "admin.listen" in error


@pytest.mark.parametrize("folder", ["state", "state/code", "link"])
def test_plugins_are_no_part_of_the_state(world: Path, folder: str) -> None:
    """All workers read them, tokens and queue would be copied for them."""
    (world / "link").symlink_to(world / "state" / "code")
    text = f'[service]\nstate_dir = "../state"\nplugin_paths = ["../plugins", "../{folder}"]\n'
    (error,) = errors(world, text)
    assert error.startswith("service.plugin_paths[1]: ")
    assert "leads into service.state_dir" in error
    # What lies the other way round is shielded, see tests/workers/test_code.py.
    assert errors(world, '[service]\nstate_dir = "../state"\nplugin_paths = [".."]\n') == []


def test_what_all_workers_trust_is_no_secret(world: Path) -> None:
    """A file with certificates and a key, which a setting names as a secret too."""
    both = world / "etc" / "both.pem"
    ca = trustme.CA()
    both.write_bytes(ca.private_key_pem.bytes() + ca.cert_pem.bytes())
    text = '[sources.web]\nwrite_key = { file = "%s" }\n[sandbox]\nca_file = "both.pem"\n'
    found = errors(world, text % "both.pem")
    assert any(one.startswith("sandbox.ca_file: ") and "holds a secret" in one for one in found)
    assert errors(world, text % "secrets/key") == []


def test_a_place_is_told_by_its_mount(world: Path) -> None:
    """A path has a device and a path in it; what is not there lies where it would."""
    tree = FileTree()
    there, missing = tree.whereabouts(world / "out"), tree.whereabouts(world / "gone" / "x")
    assert there.spots[0].device == missing.spots[0].device != ""
    assert missing.spots[0].path.endswith("/gone/x")
    assert Spot("8:1", "/a/b").is_in(Spot("8:1", "/a"))
    assert Spot("8:1", "/a/b").is_in(Spot("8:1", "/"))
    assert not Spot("8:1", "/ab").is_in(Spot("8:1", "/a"))
    assert not Spot("8:1", "/a").is_in(Spot("8:2", "/a"))
    looped = world / "loop"
    looped.symlink_to("loop")
    assert tree.whereabouts(looped).spots[0].path.endswith("/loop")


#: What is mounted, in the words of mount(8), and what the folder `../out` meets then.
MOUNTS = {
    "plugins at the folder": ("plugins", "out", "is, or holds, service.plugin_paths[0]"),
    "the state below the folder": ("state", "out/deep", "is, or holds, service.state_dir"),
    "a part of the state at the folder": ("state/code", "out", "lies in service.state_dir"),
    "the folder below the plugins": ("out", "plugins/package", "is, or holds, service.plugin"),
    "a secret's folder below the folder": ("etc/secrets", "out/deep", "holds a file with a secret"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")
@pytest.mark.parametrize("mounted", MOUNTS)
def test_mounts_are_followed(world: Path, mounted: str) -> None:
    """As `bulkhead check` says, in a mount namespace of its own."""
    if shutil.which("unshare") is None:
        pytest.skip("this kernel has no namespaces that we may make")
    source, target, meets = MOUNTS[mounted]
    path = world / "etc" / "b.toml"
    path.write_text(CONFIG % '["../out"]')
    script = 'mount --bind "$1" "$2" && exec "$3" -m supervisor check --config "$4"'
    arguments = (str(world / source), str(world / target), sys.executable, str(path))
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    assert "pools.default.write_paths[0]: " in line
    assert meets in line
