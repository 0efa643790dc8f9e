"""What a config would change, in names alone; and whether the files of one are others."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.admin.plan import ChangedKeys, PlannedChanges
from supervisor.app.planning import digest_of, planned_changes, shown_errors, with_pending
from supervisor.config import Config, ConfigError, load

SECRET = "of-nobodys-business"
BASE = """
[service]
state_dir = "state"
[sources.web]
write_key = "key-of-web"
[connections.hook]
source = "web"
destination = "webhooks"
settings = { url = "https://a", headers = { X-Team = "growth" } }
"""


def parsed(folder: Path, text: str) -> Config:
    """The config that a file says."""
    path = folder / "b.toml"
    path.write_text(text)
    return load(path, environ={"KEY": SECRET}, builtin={"webhooks", "mixpanel"})


def planned(folder: Path, before: str, after: str) -> PlannedChanges:
    """What the one changes where the other runs."""
    return planned_changes(parsed(folder, before), parsed(folder, after))


def test_the_same_file_changes_nothing(tmp_path: Path) -> None:
    """Written otherwise, with comments and blanks, it is the same."""
    assert planned(tmp_path, BASE, f"# {SECRET}\n\n{BASE}").is_empty


@pytest.mark.parametrize(
    ("old", "new", "name", "keys"),
    [
        ('url = "https://a"', 'url = { env = "KEY" }', "hook", ["settings.url"]),
        ('X-Team = "growth"', 'X-Team = "sales"', "hook", ["settings.headers"]),
        ('"webhooks"', '"webhooks"\nlinger = "1s"', "hook", ["linger"]),
        ('"webhooks"', '"mixpanel"\nweight = 3', "hook", ["destination", "weight"]),
    ],
)
def test_a_connection_is_told_by_its_keys(
    tmp_path: Path, old: str, new: str, name: str, keys: list[str]
) -> None:
    """As the file writes them, and no value of any."""
    changes = planned(tmp_path, BASE, BASE.replace(old, new))
    assert changes.connections.changed == [ChangedKeys(name, keys)]
    assert SECRET not in msgspec.json.encode(changes).decode()


def test_what_goes_is_told_with_what_is_pending(tmp_path: Path) -> None:
    """Of a connection that the file does not have any more."""
    gone = BASE[: BASE.index("[connections.hook]")]
    changes = with_pending(planned(tmp_path, BASE, gone), {"hook": 12}.__getitem__)
    (one,) = changes.connections.gone
    assert (one.name, one.pending) == ("hook", 12)


def errors_of(folder: Path, text: str) -> str:
    """What a request sees of a file that is none, and of it alone."""
    with pytest.raises(ConfigError) as caught:
        parsed(folder, text)
    return "\n".join(shown_errors(caught.value.errors, folder / "b.toml"))


@pytest.mark.parametrize(
    "text",
    [
        f"{SECRET}\n",
        f"a = {SECRET}\n",
        f'[x]\n"{SECRET}" = 1\n"{SECRET}" = 2\n',
        f"[{SECRET}\n",
        f"a = 2026-13-45 {SECRET}\n",
        f'a = "\\q{SECRET}"\n',
        f"a = '{SECRET}\n",
    ],
)
def test_no_line_of_what_is_no_toml_is_told(tmp_path: Path, text: str) -> None:
    """The place alone: the file that somebody named may be anybody's."""
    told = errors_of(tmp_path, text)
    assert SECRET not in told
    assert "is not TOML" in told


PLACES = (
    "[admin]\ntoken = [{value}]\n",
    "[admin]\ntoken = {{ x = {value} }}\n",
    "[sources.shop]\nwrite_keys = {value}\n",
    "[sources.shop]\nwrite_key = [{value}]\n",
    "[connections.two]\nsource = 'none'\ndestination = 'webhooks'\nsettings = {value}\n",
    "[sandbox]\nproxy = {value}\n",
)


@given(
    st.sampled_from(PLACES),
    st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'\\\""))
    .filter(lambda text: len(text) >= 4)
    .map(lambda text: f"q{text}q"),
)
def test_no_value_of_a_secret_key_is_told(
    tmp_path_factory: pytest.TempPathFactory, place: str, value: str
) -> None:
    """Whatever stands where a secret belongs, and however wrong it is there."""
    folder = tmp_path_factory.mktemp("config")
    text = BASE + place.format(value=f"'{value}'")
    try:
        parsed(folder, text)
    except ConfigError as error:
        told = "\n".join(shown_errors(error.errors, folder / "b.toml"))
        assert value not in told.replace(str(folder), "")


def test_a_digest_is_of_the_files_that_were_read(tmp_path: Path) -> None:
    """The config, each secret's file, and the plugins' code; and back again."""
    secret = tmp_path / "key"
    secret.write_text("first-secret")
    config = parsed(tmp_path, BASE.replace('"https://a"', f'{{ file = "{secret}" }}'))
    first = digest_of(config, "code")
    assert digest_of(config, "code") == first
    assert digest_of(config, "other code") != first
    secret.write_text("second-secret")
    assert digest_of(config, "code") != first
    secret.unlink()
    assert digest_of(config, "code") != first
    secret.write_text("first-secret")
    assert digest_of(config, "code") == first
    (tmp_path / "b.toml").write_text(BASE)
    assert digest_of(config, "code") != first
