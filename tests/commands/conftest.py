"""`bulkhead` as a function, and a running admin API to point it at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from supervisor.__main__ import main
from tests.admin.stubs import StubControl
from tests.commands.servers import Script, admin_app, serving, tracking_app


class Ran(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


Bulkhead = Callable[..., Ran]


@pytest.fixture
def bulkhead(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bulkhead:
    """Run one command in this process."""
    monkeypatch.delenv("BULKHEAD_ADMIN_TOKEN", raising=False)
    monkeypatch.delenv("BULKHEAD_WRITE_KEY", raising=False)

    def run(*arguments: str) -> Ran:
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        assert isinstance(exit.value.code, int)
        return Ran(exit.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def control(tmp_path: Path) -> Iterator[StubControl]:
    control = StubControl(tmp_path)
    yield control
    control.exits.close()


@pytest.fixture
def admin(control: StubControl) -> Iterator[str]:
    """The address of a running admin API."""
    with serving(admin_app(control)) as address:
        yield address


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def url(script: Script) -> Iterator[str]:
    """The address of a tracking API that answers by `script`."""
    with serving(tracking_app(script)) as address:
        yield address
