"""Certificates that the zygote reads for all workers."""

from __future__ import annotations

import ssl
from pathlib import Path

import certifi
import pytest

from sandbox import tls


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is known of earlier tests, nor later of these."""
    monkeypatch.setattr(tls, "_contexts", {})


def a_bundle(path: Path, certificates: int) -> Path:
    """A file with so many certificates of the usual authorities."""
    end = "-----END CERTIFICATE-----\n"
    parts = Path(certifi.where()).read_text().split(end)[:certificates]
    path.write_text("".join(part + end for part in parts))
    return path


def test_a_context_checks_certificates_and_names() -> None:
    """With the usual authorities, for HTTP/1.1 alone."""
    tls.prepare(None)
    context = tls.context(None)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_a_file_is_read_again_where_it_changed(tmp_path: Path) -> None:
    """And only then: each worker takes the same context from the zygote."""
    path = a_bundle(tmp_path / "ca.pem", 1)
    tls.prepare(str(path))
    first = tls.context(str(path))
    tls.prepare(str(path))
    assert tls.context(str(path)) is first
    a_bundle(path, 2)
    tls.prepare(str(path))
    assert tls.context(str(path)) is not first


def test_only_the_last_file_is_kept(tmp_path: Path) -> None:
    """A config has one; a service that is reloaded for years keeps no heap of them."""
    for name in ("one.pem", "two.pem"):
        tls.prepare(str(a_bundle(tmp_path / name, 1)))
    assert list(tls._contexts) == [str(tmp_path / "two.pem")]


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file"), ("no certificate", "holds no certificate"), ("", "holds no cert")],
)
def test_a_file_without_certificates_is_named(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    """With the key of the config and the reason."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(tls.NoCertificates, match=rf"sandbox.ca_file: .*ca.pem: {reason}"):
        tls.prepare(str(path))
