"""One window through openai-whisper itself, with the same weights: tokens and scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from whisper.decoding import DecodingOptions, decode

from tests.oracle.openai_reference import openai_model
from tests.oracle.reference import Comparison
from tests.oracle.shapes import DISTILLED, ENGLISH, PLAIN, UNEVEN
from tests.oracle.signals import chirps
from tests.support.drive_session import drive, make_unit
from tests.support.whisper_checkpoint import Shape


@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
@pytest.mark.parametrize("prompt", [None, "The sea, the red house."], ids=["bare", "prompted"])
@pytest.mark.parametrize("shape", [PLAIN, UNEVEN, DISTILLED, ENGLISH], ids=lambda shape: shape.name)
def test_window_matches_openai_whisper(
    shape: Shape, prompt: str | None, timestamps: bool, comparison_of: Callable[[Shape], Comparison]
) -> None:
    comparison, samples = comparison_of(shape), chirps(6, seed=13)
    theirs = decode(
        openai_model(comparison.model),
        comparison.features(samples)[0],
        DecodingOptions(
            language=None if comparison.config.multilingual else "en",
            temperature=0.0,
            sample_len=40,
            prompt=prompt,
            suppress_tokens=[1, 2, 7, 8, 9, 10, 14, 25],  # and the controls, as in the checkpoint
            without_timestamps=not timestamps,
            fp16=False,
        ),
    )
    unit = make_unit(samples, timestamps=timestamps, prompt=prompt, max_new_tokens=40)
    (ours,) = drive(comparison.session, [unit])
    assert list(ours.tokens) == theirs.tokens
    assert ours.language == theirs.language
    assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-4)
