"""When a chunk can be made, and that it equals its part of the whole sentence."""

from __future__ import annotations

import numpy as np
import pytest

from antiphon.models.speecht5.session import SpeechT5Session
from antiphon.models.speecht5.vocoder import Vocoder
from tests.support.speecht5_sessions import Floats
from tests.support.tiny_speecht5 import SHAPE


@pytest.fixture(scope="module")
def vocoder(session: SpeechT5Session) -> Vocoder:
    return session.vocoder


@pytest.fixture(scope="module")
def frames() -> Floats:
    return np.random.default_rng(0).standard_normal((200, SHAPE.mels)).astype(np.float32)


def test_chunks_grow_from_a_quarter_of_a_second(vocoder: Vocoder) -> None:
    assert vocoder.sizes == (16, 32, 64, 128)


def test_chunk_waits_for_its_receptive_field(vocoder: Vocoder, frames: Floats) -> None:
    made = next(count for count in range(200) if vocoder.next_chunk(0, 0, count, ended=False))
    assert vocoder.next_chunk(0, 0, made, ended=False) == (0, 16)
    vocoder.samples(frames[:made], (0, 16), ended=False)
    with pytest.raises(ValueError, match=f"frames up to {made} are needed, but only {made - 1} are made"):
        vocoder.samples(frames[: made - 1], (0, 16), ended=False)


def test_ended_sentence_waits_for_no_frames(vocoder: Vocoder) -> None:
    assert vocoder.next_chunk(0, 0, 3, ended=True) == (0, 3)
    assert vocoder.next_chunk(16, 1, 40, ended=True) == (16, 40)
    assert vocoder.next_chunk(48, 2, 90, ended=True) == (48, 90)
    assert vocoder.next_chunk(90, 3, 90, ended=True) is None


def test_sentence_that_waited_gets_all_its_frames_in_one_chunk(vocoder: Vocoder) -> None:
    assert vocoder.next_chunk(0, 0, 100, ended=True) == (0, 64)
    assert vocoder.next_chunk(16, 1, 1000, ended=False) == (16, 144)
    assert vocoder.next_chunk(112, 9, 1000, ended=False) == (112, 240)


def test_chunks_after_the_first_grow_sooner_with_many_sentences(vocoder: Vocoder) -> None:
    enough = 16 + 128 + 100
    for sentences, second in ((1, 32), (2, 64), (3, 64), (4, 128), (100, 128)):
        assert vocoder.next_chunk(0, 0, 16, ended=True, sentences=sentences) == (0, 16)
        made = next(
            count for count in range(enough) if vocoder.next_chunk(16, 1, count, ended=False, sentences=sentences)
        )
        assert vocoder.next_chunk(16, 1, made, ended=False, sentences=sentences) == (16, 16 + second)


@pytest.mark.parametrize("length", [1, 2, 15, 16, 17, 33, 64, 65, 127, 128, 129, 200])
def test_last_chunk_equals_the_end_of_the_whole_sentence(vocoder: Vocoder, frames: Floats, length: int) -> None:
    given = frames[:length]
    whole = vocoder.samples(given, (0, length), ended=True)
    assert len(whole) == length * vocoder.hop
    for first in {0, length // 3, length - 1}:
        chunk = vocoder.samples(given, (first, length), ended=True)
        np.testing.assert_allclose(chunk, whole[first * vocoder.hop :], rtol=0, atol=1e-5)


@pytest.mark.parametrize("first", [0, 1, 7, 50, 100])
def test_any_chunk_equals_its_part_of_the_whole_sentence(vocoder: Vocoder, frames: Floats, first: int) -> None:
    whole = vocoder.samples(frames, (0, len(frames)), ended=True)
    stretch = (first, first + 16)
    chunk = vocoder.samples(frames[:150], stretch, ended=False)
    part = whole[stretch[0] * vocoder.hop : stretch[1] * vocoder.hop]
    np.testing.assert_allclose(chunk, part, rtol=0, atol=1e-5)
