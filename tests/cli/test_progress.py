"""The progress bar of a download."""

from __future__ import annotations

import io
import sys

import pytest

from antiphon.cli.progress import DownloadBar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_bar_is_drawn_once_and_ends_with_the_download(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with DownloadBar() as bar:
        for done in (10, 50, 100, 100, 100):
            bar.progress("whisper-base", done, 100)
    assert terminal.getvalue().count("\n") == 1
    assert "100%" in terminal.getvalue()


def test_no_bar_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with DownloadBar() as bar:
        bar.progress("whisper-base", 10, 100)
        bar.report("Pulling whisper-base.")
    assert capsys.readouterr().err == "Pulling whisper-base.\n"
