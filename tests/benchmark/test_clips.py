"""Clips: generated ones with exact lengths and reference texts, and the user's files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.decode import decode
from antiphon.benchmark import clips
from antiphon.benchmark.clips import (
    FILES,
    NOISE,
    SENTENCE_GAP_S,
    SPEECH,
    make_clips,
    pack_sentences,
    parse_lengths,
    read_clips,
)
from antiphon.benchmark.sentences import SENTENCES
from antiphon.errors import ConfigError
from antiphon.transcription.energy import measure
from antiphon.types.audio import SAMPLE_RATE
from tests.support.sounds import make_audio


@pytest.mark.parametrize(
    ("text", "ranges"),
    [("30", ((30, 30),)), ("3-5", ((3, 5),)), ("3-5,30,600", ((3, 5), (30, 30), (600, 600))), ("0.5-1", ((0.5, 1),))],
)
def test_lengths_are_parsed_as_ranges(text: str, ranges: tuple[tuple[float, float], ...]) -> None:
    assert parse_lengths(text) == ranges


@pytest.mark.parametrize("text", ["", "x", "5-3", "0", "-3", "3-5,", "nan", "3-inf", "3-4-5"])
def test_invalid_lengths_are_a_config_error(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse_lengths(text)
    assert refused.value.setting == "lengths"


def test_packing_takes_whole_sentences() -> None:
    recordings = {"one.": np.full(SAMPLE_RATE, 0.1, np.float32), "two.": np.full(2 * SAMPLE_RATE, 0.2, np.float32)}
    clip, text = pack_sentences(recordings, 9.0, np.random.default_rng(0))
    words = text.split()
    assert len(clip) == 9 * SAMPLE_RATE
    assert np.count_nonzero(clip == np.float32(0.1)) == words.count("one.") * SAMPLE_RATE
    assert np.count_nonzero(clip == np.float32(0.2)) == words.count("two.") * 2 * SAMPLE_RATE
    seconds = words.count("one.") + 2 * words.count("two.") + SENTENCE_GAP_S * len(words)
    assert 9 - seconds < 1  # no other sentence fits


def test_clip_shorter_than_any_sentence_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match=r"the shortest takes 1\.0 s"):
        pack_sentences({"one.": np.zeros(SAMPLE_RATE, np.float32)}, 0.9, np.random.default_rng(0))


def test_synthesised_clips_have_their_length_and_reference() -> None:
    made = make_clips(((3, 5), (12, 12)), seed=0)
    assert made.kind == SPEECH
    assert len(made.clips) == 16
    for index, clip in enumerate(made.clips):
        assert 3 <= clip.seconds <= 5 if index % 2 == 0 else clip.seconds == 12
        assert np.abs(clip.samples).max() > 0.1
        np.testing.assert_allclose(decode(clip.data), clip.samples, atol=1e-4)
        assert clip.reference
        assert any(sentence in clip.reference for sentence in SENTENCES)
    assert len({clip.reference for clip in made.clips}) > 8


def test_same_seed_makes_the_same_clips() -> None:
    """Except for their last digits: the voice's oscillators run on from one sentence to the next."""
    one, same, other = (
        [(len(clip.samples), clip.reference) for clip in make_clips(((3, 5),), seed).clips] for seed in (1, 1, 2)
    )
    assert one == same
    assert one != other


def test_clips_without_espeak_are_noise_with_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clips, "built_in_models", lambda: ())
    made = make_clips(((20, 20),), seed=0)
    assert made.kind == NOISE
    assert {clip.reference for clip in made.clips} == {None}
    assert len(measure(made.clips[0].samples).pauses) == 5


def test_clips_from_files_and_folders_with_references(tmp_path: Path) -> None:
    (tmp_path / "b.wav").write_bytes(make_audio(1.0))
    (tmp_path / "a.mp3").write_bytes(make_audio(2.0, "mp3", "libmp3lame", rate=48_000))
    (tmp_path / "a.txt").write_text(" Hello there.\n")
    (tmp_path / "notes.txt").write_text("nothing to do with it")
    (tmp_path / ".hidden").write_text("not audio")
    made = read_clips([tmp_path, tmp_path / "b.wav"])
    assert made.kind == FILES
    assert [clip.name for clip in made.clips] == ["a.mp3", "b.wav", "b.wav"]
    assert [clip.reference for clip in made.clips] == ["Hello there.", None, None]
    assert [clip.seconds for clip in made.clips] == pytest.approx([2.0, 1.0, 1.0], abs=0.01)
    assert made.clips[1].data == (tmp_path / "b.wav").read_bytes()


def test_folders_named_by_language_codes_give_the_language(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "de", tmp_path / "de" / "es", tmp_path / "music"):
        folder.mkdir(exist_ok=True)
        (folder / "clip.wav").write_bytes(make_audio(0.2))
        (folder / "clip.txt").write_text("hello")
    (tmp_path / "README.md").write_text("without a text of its own, and not a recording")
    by_language = read_clips([tmp_path, tmp_path / "de" / "es" / "clip.wav"], by_language=True)
    assert [clip.language for clip in by_language.clips] == ["", "de", "es"]
    (tmp_path / "README.md").unlink()
    assert [clip.language for clip in read_clips([tmp_path, tmp_path / "de"]).clips] == ["", ""]


@pytest.mark.parametrize(("name", "why"), [("missing", "no such file"), ("empty", "no file in it"), ("bad", "bad.wav")])
def test_unreadable_audio_is_a_config_error(tmp_path: Path, name: str, why: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "bad.wav").write_bytes(b"no sound")
    with pytest.raises(ConfigError, match=why) as refused:
        read_clips([tmp_path / name])
    assert refused.value.setting == "audio"
    assert refused.value.message.startswith(str(tmp_path / name))
