"""API keys: the file's format, reading it again, and the key that the first start generates."""

from __future__ import annotations

import hashlib
import logging
import os
from pathlib import Path

import pytest

from antiphon.errors import ConfigError
from antiphon.server.api_keys import ApiKeys, KeyFile, configured_keys, generated_keys, parse_keys
from antiphon.settings import Settings

FILE = """
# ours
first
  team-a: second
b@c.d: a: b
not a name: x
sk:no-space
"""


def test_file_has_a_key_on_each_line_with_or_without_a_name() -> None:
    keys = {key.name: key.digest for key in parse_keys(FILE)}
    expected = {
        "line-3": "first",
        "team-a": "second",
        "b@c.d": "a: b",
        "line-6": "not a name: x",
        "line-7": "sk:no-space",
    }
    assert keys == {name: hashlib.sha256(key.encode()).digest() for name, key in expected.items()}


def test_no_keys_require_none() -> None:
    assert not ApiKeys().required
    assert ApiKeys().name_of([b"x"]) is None


def write(path: Path, text: str) -> None:
    """Write the file, with a new time of modification however coarse the clock of the file system is."""
    path.write_text(text)
    changed = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(changed, changed))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text("a: one\n")
    return path


def test_changed_file_is_read_again_after_a_second(path: Path) -> None:
    now = 0.0
    keys = KeyFile(path, clock=lambda: now)
    write(path, "b: two\n")
    assert keys.name_of([b"one"]) == "a"
    now = 1.0
    assert (keys.name_of([b"one"]), keys.name_of([b"two"])) == (None, "b")


@pytest.mark.parametrize("content", [None, "", "# nothing\n"])
def test_keys_remain_if_the_file_is_lost_or_empty(
    path: Path, content: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    keys = KeyFile(path, clock=lambda: now)
    if content is None:
        path.unlink()
    else:
        write(path, content)
    for now in (1.0, 2.0, 3.0):  # noqa: B007 - read by the clock
        assert keys.name_of([b"one"]) == "a"
    assert [record.levelname for record in caplog.records] == ["ERROR"]  # once for the change, not for every check
    write(path, "b: two\n")
    now = 4.0
    assert (keys.name_of([b"one"]), keys.name_of([b"two"])) == (None, "b")


def test_file_that_others_can_read_is_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.chmod(0o640)
    KeyFile(path)
    assert not caplog.records
    path.chmod(0o644)
    KeyFile(path)
    [record] = caplog.records
    assert (record.levelno, record.getMessage()) == (
        logging.WARNING,
        f"{path} can be read by every user of this machine: chmod o-r {path}",
    )


def test_no_auth_ignores_the_variable_of_other_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "x")
    assert configured_keys(Settings()).name_of([b"x"]) == "API_KEY"
    assert not configured_keys(Settings(no_auth=True)).required


def test_origin_of_the_keys_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "keys"
    path.write_text("a: one\ntwo\n")
    lines: list[str] = []
    configured_keys(Settings(api_key_file=path), lines.append)
    monkeypatch.setenv("API_KEY", "x")
    configured_keys(Settings(), lines.append)
    assert lines == [
        f"Requests need one of the API keys in {path}; there are 2.",
        "Requests need the API key in the environment variable API_KEY.",
    ]


def test_name_without_a_key_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text("alice: one\nbob:\n")
    with pytest.raises(ConfigError, match="line 2 has a name and no key"):
        KeyFile(path)


def test_generated_key_is_shown_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "state" / "antiphon" / "api-key"
    lines: list[str] = []
    keys = generated_keys(lines.append)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    key = lines[0].rpartition(": ")[2]
    assert len(key) >= 32
    assert lines == [
        f"Generated an API key, kept in {path} and not shown again: {key}",
        "Clients send it as 'Authorization: Bearer <key>'. To serve without a key: --no_auth",
    ]
    assert path.read_text() == f"{key}\n"  # so that a shell can read it: $(cat api-key)
    assert keys.name_of([key.encode()]) == "line-1"
    assert generated_keys(lines.append).name_of([key.encode()]) == "line-1"
    assert lines[2:] == [f"Requests need the API key in {path}."]
    assert list(path.parent.iterdir()) == [path]


def test_key_that_cannot_be_kept_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "antiphon").write_text("a file in place of the folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"cannot write .*api-key .*no_auth to serve without a key"):
        generated_keys(lambda line: None)
