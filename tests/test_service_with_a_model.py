"""Whole speech requests on a real network: a tiny SpeechT5 with random weights."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from antiphon.errors import ConfigError, InvalidParameter
from antiphon.loader import LoadOptions, load_sessions
from antiphon.service import SpeechService
from antiphon.types.audio import Samples
from antiphon.types.options import SpeakOptions
from tests.support.service import serving, speak, speak_async
from tests.support.sessions import load_session
from tests.support.starters import STARTER_ASR
from tests.support.tiny_speecht5 import write_tiny

TEXTS = ["Hello there. How are you today?", "It is 5 o'clock.", "One, two, three. Go!", "A longer text, that goes on."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny-speecht5")


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[SpeechService]:
    with serving(load_session(str(folder), precision="f32", slots=3)) as service:
        yield service


def test_concurrent_requests_have_the_samples_of_single_ones(service: SpeechService) -> None:
    options = SpeakOptions(seed=7)

    async def listen(text: str) -> Samples:
        return np.concatenate([samples async for samples in speak_async(service, text, options)])

    async def all_at_once() -> list[Samples]:
        return await asyncio.gather(*map(listen, TEXTS))

    together = asyncio.run(all_at_once())
    for text, batched in zip(TEXTS, together, strict=True):
        alone = speak(service, text, options)
        assert np.isfinite(batched).all()
        assert np.abs(alone).max() > 0
        np.testing.assert_allclose(batched, alone, atol=1e-4)


def test_sentence_longer_than_the_model_reads_is_split(service: SpeechService) -> None:
    """The tiny model has 90 positions; a sentence without a full stop is split at clauses."""
    longest = service.models.info()[0].longest_sentence
    assert longest == 82
    text = "one word after the other, " * 12 + "and 12 more."
    assert len(speak(service, text, SpeakOptions()))


def test_two_replicas_have_the_samples_of_one(folder: Path, service: SpeechService) -> None:
    """The sentences of one request, in two sessions at once."""
    replicas = load_sessions(str(folder), LoadOptions(precision="f32", slots=3, plugin_config={"NUM_STREAMS": 2}))
    options, text = SpeakOptions(seed=7), " ".join(TEXTS * 2)
    with serving(replicas) as both:
        for _ in range(3):
            np.testing.assert_allclose(speak(both, text, options), speak(service, text, options), atol=1e-4)


def test_digits_are_spelt_out(service: SpeechService) -> None:
    spelt, digits = (speak(service, text, SpeakOptions()) for text in ("It is five.", "It is 5."))
    np.testing.assert_array_equal(spelt, digits)


def test_unknown_voice_is_refused_with_the_valid_ones(service: SpeechService) -> None:
    info = service.models.info()[0]
    assert info.family == "speecht5"
    with pytest.raises(InvalidParameter, match=info.voices[0]):
        speak(service, "hello", SpeakOptions("unknown"))


def test_voice_and_vocoder_from_other_folders(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "ann.bin"
    shape = len(next((folder / "voices").glob("*.bin")).read_bytes()) // 4
    np.ones(shape, np.float32).tofile(file)
    session = load_session(str(folder), precision="f32", speaker=("ann", file), vocoder=folder / "vocoder")
    assert session.info.voices[0] == "ann"
    file.write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"ann\.bin"):
        load_session(str(folder), precision="f32", speaker=("ann", file))
    with pytest.raises(
        ConfigError, match=r"^vocoder: .*starter-asr is a model of the family whisper, which takes none"
    ):
        load_session(str(STARTER_ASR), vocoder=folder / "vocoder")
