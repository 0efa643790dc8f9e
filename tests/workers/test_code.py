"""Code that is kept by content."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from supervisor.workers import code
from supervisor.workers.code import KEPT, MAX_DEPTH, CodeRefused, CodeStore
from supervisor.workers.resources.removal import temporary_folder
from tests.workers.resources.hostile_folders import nested, odd_entries


@pytest.fixture
def plugins(tmp_path: Path) -> Path:
    """A folder with a plugin, a package beside it, and data."""
    folder = tmp_path / "plugins"
    (folder / "package").mkdir(parents=True)
    (folder / "plugin.py").write_text("one = 1")
    (folder / "package" / "__init__.py").write_text("")
    (folder / "package" / "mapping.json").write_text("{}")
    return folder


@pytest.fixture
def store(tmp_path: Path) -> CodeStore:
    return CodeStore(tmp_path / "state" / "code")


def names(folder: Path) -> list[str]:
    """What is below it, sorted."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_all_that_is_there_is_kept_and_for_reading_only(store: CodeStore, plugins: Path) -> None:
    """Code and data, as it stood; whatever happens to the folder afterwards."""
    (root,) = store.keep([plugins], ()).roots
    (plugins / "plugin.py").write_text("import broken")
    (plugins / "package" / "mapping.json").unlink()
    assert names(root) == ["package", "package/__init__.py", "package/mapping.json", "plugin.py"]
    assert (root / "plugin.py").read_text() == "one = 1"
    assert stat.S_IMODE((root / "plugin.py").stat().st_mode) == 0o444
    assert stat.S_IMODE((root / "package").stat().st_mode) == 0o555


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "plugin.py").write_text("one = 2"),
        lambda folder: (folder / "package" / "mapping.json").write_text("[]"),
        lambda folder: (folder / "package" / "more.txt").write_text(""),
        lambda folder: (folder / "package" / "__init__.py").unlink(),
        lambda folder: (folder / "plugin.py").rename(folder / "other.py"),
    ],
)
def test_any_change_is_another_content(store: CodeStore, plugins: Path, change: object) -> None:
    """Of code or data, of a name or what stands in it; and back again is the first."""
    assert callable(change)
    first = store.keep([plugins], ())
    assert store.keep([plugins], ()) == first
    change(plugins)
    second = store.keep([plugins], ())
    assert second.digest != first.digest
    assert first.roots[0].is_dir()


def test_what_is_no_plugins_business_counts_for_nothing(store: CodeStore, plugins: Path) -> None:
    """Byte code, hidden names, virtual environments, links to nowhere, and what is no file."""
    first = store.keep([plugins], ())
    (plugins / "__pycache__").mkdir()
    (plugins / "__pycache__" / "plugin.pyc").write_text("")
    (plugins / ".git").mkdir()
    (plugins / ".git" / "HEAD").write_text("")
    (plugins / "venv").mkdir()
    (plugins / "venv" / "pyvenv.cfg").write_text("")
    (plugins / "gone").symlink_to(plugins / "nowhere")
    os.mkfifo(plugins / "pipe.py")
    assert store.keep([plugins], ()).digest == first.digest


def test_links_are_followed_and_never_in_a_circle(
    store: CodeStore, plugins: Path, tmp_path: Path
) -> None:
    """A file that a container mounts is a link to a link; a folder may lead back to itself."""
    (tmp_path / "real.json").write_text("{}")
    (plugins / "data.json").symlink_to(tmp_path / "real.json")
    (plugins / "package" / "back").symlink_to(plugins)
    (root,) = store.keep([plugins], ()).roots
    assert not (root / "data.json").is_symlink()
    assert (root / "data.json").read_text() == "{}"
    assert not (root / "package" / "back").exists()


def test_secrets_are_shielded_wherever_they_lie(
    store: CodeStore, plugins: Path, tmp_path: Path
) -> None:
    """By what they are, and not by a name: a link to one is none of a plugin's either."""
    secret, state = plugins / "config.toml", plugins / "state"
    secret.write_text("token = 'x'")
    state.mkdir()
    (state / "queue.db").write_text("events")
    (plugins / "alias.toml").symlink_to(secret)
    os.link(secret, plugins / "package" / "hard.toml")
    (plugins / "mirror").symlink_to(state)
    kept = store.keep([plugins], [secret, state, tmp_path / "not there"])
    assert names(kept.roots[0]) == [
        *("package", "package/__init__.py", "package/mapping.json", "plugin.py"),
    ]
    assert [Path(path).name for path in kept.left_out] == [
        *("alias.toml", "config.toml", "mirror", "hard.toml", "state"),
    ]


def test_what_a_link_leads_to_in_the_state_is_shielded(
    store: CodeStore, plugins: Path, tmp_path: Path
) -> None:
    """Not the state itself, but a file or folder in it, by however many links."""
    state = tmp_path / "kept"
    (state / "tokens").mkdir(parents=True)
    (state / "tokens" / "one").write_text("a token")
    (plugins / "tokens").symlink_to(state / "tokens")
    (plugins / "hop").symlink_to(plugins / "token.txt")
    (plugins / "token.txt").symlink_to(state / "tokens" / "one")
    kept = store.keep([plugins], [state])
    assert [Path(path).name for path in kept.left_out] == ["hop", "token.txt", "tokens"]
    assert "a token" not in "".join(
        path.read_text() for path in kept.roots[0].rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("target", ["out", "out/deep", "out/deep/data.json", "", "out/hop"])
def test_no_link_leads_to_where_workers_may_write(
    store: CodeStore, plugins: Path, tmp_path: Path, target: str
) -> None:
    """Into such a folder, to one around it, or through a link that stands in it."""
    (tmp_path / "out" / "deep").mkdir(parents=True)
    (tmp_path / "out" / "deep" / "data.json").write_text("{}")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "hop").symlink_to(tmp_path / "elsewhere")
    (plugins / "data").symlink_to(tmp_path / target)
    with pytest.raises(CodeRefused, match=r"plugin_paths\[0\]: .*/data leads to .*/out of write"):
        store.keep([plugins], (), [tmp_path / "out"])
    (plugins / "data").unlink()
    (plugins / "data").symlink_to(tmp_path / "elsewhere")
    assert store.keep([plugins], (), [tmp_path / "out"]).left_out == ()


def test_odd_folders_neither_hold_nor_end_it(
    store: CodeStore, plugins: Path, tmp_path: Path
) -> None:
    """Deep nesting and odd names beside a plugin are left out, and it is kept."""
    with temporary_folder("bulkhead-test-") as made:
        folder = Path(made)
        (folder / "plugin.py").write_text("one = 1")
        nested(folder / "deep", 1_200)
        odd_entries(folder / "odd", tmp_path)
        kept = store.keep([folder], ())
        assert (kept.roots[0] / "plugin.py").read_text() == "one = 1"
        assert len(kept.left_out) == 1
        assert len(Path(kept.left_out[0]).relative_to(folder).parts) <= MAX_DEPTH


def test_too_much_is_refused(
    store: CodeStore, plugins: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the key at fault; nothing half-made is left."""
    monkeypatch.setattr(code, "MAX_FILES", 2)
    with pytest.raises(CodeRefused, match=r"plugin_paths\[0\]: .* holds more than 2 files"):
        store.keep([plugins], ())
    monkeypatch.undo()
    monkeypatch.setattr(code, "MAX_BYTES", 5)
    with pytest.raises(CodeRefused, match=r"service\.plugin_paths: hold more than"):
        store.keep([plugins], ())
    assert list((plugins.parent / "state" / "code").iterdir()) == []


def test_what_was_changed_is_kept_anew(store: CodeStore, plugins: Path) -> None:
    """A kept file is compared with its digest before anybody starts from it."""
    (root,) = store.keep([plugins], ()).roots
    (root / "plugin.py").chmod(0o644)
    (root / "plugin.py").write_text("evil = 1")
    assert store.keep([plugins], ()).roots == (root,)
    assert (root / "plugin.py").read_text() == "one = 1"


def test_few_are_kept(store: CodeStore, plugins: Path) -> None:
    """The oldest go, that of now never; a draft of a service that was killed goes too."""
    folder = plugins.parent / "state" / "code"
    first = store.keep([plugins], ())
    os.utime(first.roots[0].parent, (1e8, 1e8))
    for number in range(KEPT + 3):
        (folder / f"draft-{number}").mkdir()
        (plugins / "plugin.py").write_text(f"one = {number}00")
        last = store.keep([plugins], ())
        os.utime(last.roots[0].parent, (number + 1e9, number + 1e9))
    assert len(list(folder.iterdir())) == KEPT
    assert last.roots[0].is_dir()
    assert not first.roots[0].is_dir()


def test_no_plugins_is_no_folder(store: CodeStore, tmp_path: Path) -> None:
    """A service with built-in destinations alone keeps nothing."""
    assert store.keep([], ()).roots == ()
    assert not (tmp_path / "state").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has workers with users of their own")
def test_workers_with_users_of_their_own_come_to_it(plugins: Path, tmp_path: Path) -> None:
    """Others may search the state directory and what is kept, and list or read neither."""
    folder = tmp_path / "state" / "code"
    CodeStore(folder, is_searched=True).keep([plugins], ())
    assert [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)] == [0o711] * 2
