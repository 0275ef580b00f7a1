"""Every SpeechT5 shape against transformers in float32: states, mel frames, stops, samples; dropout off, and given.

Seen on AVX2: states 2e-6, mel frames 8e-6 after up to 700 of them, samples 2e-6.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from antiphon.models.layers import NEVER
from antiphon.models.speecht5.graph import relative_position_rows
from antiphon.models.speecht5.receptive_field import postnet_context, vocoder_context
from antiphon.models.speecht5.session import StopRule
from antiphon.weights.safetensors import open_checkpoint
from tests.oracle.speecht5_reference import Comparison, Shape, frames_of, make_comparison, open_session
from tests.oracle.speecht5_shapes import FOUR, PLAIN, SHAPES, SINGLE
from tests.support.encoder_states import compile_exact, speecht5_states_model
from tests.support.speecht5_sessions import Guest, audio, sentence, speak

Floats = NDArray[np.float32]
MakeComparison = Callable[[Shape], Comparison]

# float32 sums in another order; a frame's error goes into the next one.
STATES_TOLERANCE = 2e-5
MEL_TOLERANCE = 1e-4
SAMPLES_TOLERANCE = 2e-5

TEXTS = (
    "Hi",
    "abc def",
    "Hello there, how are you?",
    "What is it that you want to know, and why would anybody tell?",
    "",
)
VOICES = ("ada", "bob")


@pytest.fixture(scope="module")
def speaking(tmp_path_factory: pytest.TempPathFactory) -> MakeComparison:
    """Each shape is written and compiled once."""

    @functools.cache
    def make(shape: Shape) -> Comparison:
        return make_comparison(tmp_path_factory.mktemp(shape.name), shape)

    return make


@pytest.fixture(params=SHAPES, ids=lambda shape: shape.name)
def comparison(request: pytest.FixtureRequest, speaking: MakeComparison) -> Comparison:
    return speaking(request.param)


def ids_of(comparison: Comparison, text: str) -> list[int]:
    return comparison.session._tokenizer.encode(text)


def with_rules(comparison: Comparison, **rules: float) -> Comparison:
    """The same comparison, whose session stops by other rules."""
    comparison.session._stop_rule = StopRule(dropout=False, **rules)  # type: ignore[arg-type]
    return comparison


@pytest.mark.parametrize("text", TEXTS)
def test_encoder_states_match_transformers(comparison: Comparison, text: str) -> None:
    ids = ids_of(comparison, text)
    (ours,) = encoder_states(comparison, [ids])
    with torch.no_grad():
        theirs = comparison.model.speecht5.encoder(torch.tensor([ids])).last_hidden_state[0].numpy()
    assert theirs.std() > 0.5
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=STATES_TOLERANCE)


def test_frames_stops_and_samples_match_transformers(comparison: Comparison) -> None:
    comparison = with_rules(comparison, maxlenratio=9.0)
    lengths, worst = [], np.zeros(3)
    for text in TEXTS:
        for voice in VOICES:
            before, after = comparison.speech(ids_of(comparison, text), voice, maxlenratio=9.0)
            frames = frames_of(comparison.session, sentence(text, voice))
            assert frames.shape == before.shape
            samples, theirs = audio(comparison.session, sentence(text, voice)), comparison.sound(after)
            assert samples.shape == theirs.shape
            refined = comparison.session.vocoder.refined(frames)
            errors = [np.abs(a - b).max() for a, b in ((frames, before), (refined, after), (samples, theirs))]
            worst = np.maximum(worst, errors)
            lengths.append(len(before))
    print(f"{comparison.shape.name}: frames {lengths}, worst errors {worst}")
    assert (worst <= [MEL_TOLERANCE, MEL_TOLERANCE, SAMPLES_TOLERANCE]).all()
    assert len(set(lengths)) >= 4


@pytest.mark.parametrize(
    "rules",
    [
        {"minlenratio": 7.0, "maxlenratio": 9.0},
        {"minlenratio": 0.0, "maxlenratio": 1.7},
        {"minlenratio": 4.0, "maxlenratio": 2.0},
        {"minlenratio": 0.0, "maxlenratio": 0.0},
        {"threshold": 0.05, "maxlenratio": 9.0},
        {"threshold": 1.3, "maxlenratio": 9.0},
        {},
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [PLAIN, SINGLE, FOUR], ids=lambda shape: shape.name)
def test_length_limits_match_transformers(rules: dict[str, float], shape: Shape, speaking: MakeComparison) -> None:
    comparison = with_rules(speaking(shape), **rules)
    for text in TEXTS[:3]:
        before, _ = comparison.speech(ids_of(comparison, text), "bob", **rules)
        frames = frames_of(comparison.session, sentence(text, "bob"))
        assert len(frames) == len(before)
        np.testing.assert_allclose(frames, before, rtol=0, atol=MEL_TOLERANCE)


def test_dropout_with_the_same_units_matches_transformers(
    speaking: MakeComparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = speaking(PLAIN)
    session = open_session(comparison.folder, StopRule(minlenratio=2.0, maxlenratio=4.0))
    factors: list[Floats] = []
    draw = session._dropout
    monkeypatch.setattr(session, "_dropout", lambda: (factors.append(draw()), factors[-1])[1])
    frames = frames_of(session, sentence(TEXTS[2], "ada", seed=5))
    used = [step[0] for step in factors]
    assert set(np.unique(used)) == {0.0, 2.0}
    before, _ = comparison.speech(ids_of(comparison, TEXTS[2]), "ada", used, minlenratio=2.0, maxlenratio=4.0)
    assert frames.shape == before.shape
    np.testing.assert_allclose(frames, before, rtol=0, atol=MEL_TOLERANCE)


@pytest.mark.parametrize("chance", [0.2, 0.5])
def test_dropout_of_transformers_is_as_assumed(speaking: MakeComparison, chance: float) -> None:
    """It keeps a unit with the probability to drop it; `SpeechT5Session._dropout` does the same."""
    drop = speaking(PLAIN).model.speecht5.decoder.prenet._consistent_dropout
    dropped = drop(torch.ones(1, 100, 100), chance).numpy()
    assert np.unique(dropped).tolist() == pytest.approx([0, 1 / (1 - chance)])
    assert (dropped > 0).mean() == pytest.approx(chance, abs=0.03)


def test_batch_encoder_states_equal_single_runs(comparison: Comparison) -> None:
    texts = [ids_of(comparison, text) for text in TEXTS]
    for states, text in zip(encoder_states(comparison, texts), texts, strict=True):
        np.testing.assert_allclose(states, encoder_states(comparison, [text])[0], rtol=0, atol=STATES_TOLERANCE)


def encoder_states(comparison: Comparison, texts: Sequence[list[int]]) -> list[Floats]:
    """Our encoder's states `[n, width]` of each text, from one padded batch."""
    length, config = max(map(len, texts)), comparison.session._config
    ids = np.full((len(texts), length), 3, np.int32)
    mask = np.full((len(texts), 1, 1, length), NEVER, np.float32)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, ..., : len(text)] = text, 0
    with open_checkpoint(comparison.folder) as weights:
        encoder = compile_exact(speecht5_states_model(config, weights))
    states = encoder({"ids": ids, "distances": relative_position_rows(length, config), "mask": mask})["states"]
    return [states[row, : len(text)] for row, text in enumerate(texts)]


def test_batch_samples_match_transformers(comparison: Comparison) -> None:
    comparison = with_rules(comparison, maxlenratio=9.0)
    requests = [("Hi", "bob"), (TEXTS[3], "ada"), ("abc def", "ada"), (TEXTS[2], "bob")]
    guests = [Guest(sentence(*one), joins) for one, joins in zip(requests, (0, 3, 3, 11), strict=True)]
    outputs = speak(comparison.session, guests)
    for (text, voice), chunks in zip(requests, outputs, strict=True):
        theirs = comparison.sound(comparison.speech(ids_of(comparison, text), voice, maxlenratio=9.0)[1])
        assert chunks is not None
        assert sum(map(len, chunks)) == len(theirs)
        np.testing.assert_allclose(np.concatenate(chunks), theirs, rtol=0, atol=SAMPLES_TOLERANCE)


def test_receptive_field_matches_transformers(comparison: Comparison) -> None:
    """A frame that changes by much changes nothing beyond the reach of the post-net and the vocoder, and does within."""
    sound, length, middle = comparison.session.vocoder._sound, 161, 80
    generator = np.random.default_rng(0)
    mel = generator.standard_normal((length, comparison.shape.mels)).astype(np.float32)
    changed = mel.copy()
    changed[middle] = generator.standard_normal(comparison.shape.mels) * 1e3
    changed_samples = np.flatnonzero(comparison.sound(mel) != comparison.sound(changed)) // sound.hop
    reach = vocoder_context(sound)
    assert middle - reach <= changed_samples.min() <= changed_samples.max() <= middle + reach
    assert changed_samples.max() - changed_samples.min() >= 2 * (reach - 2)
    with torch.no_grad():
        seen = [
            comparison.model.speech_decoder_postnet.postnet(torch.from_numpy(one)[None])[0] for one in (mel, changed)
        ]
    rows = np.flatnonzero((seen[0] != seen[1]).any(1).numpy())
    assert (rows.min(), rows.max()) == (
        middle - postnet_context(comparison.session._config),
        middle + postnet_context(comparison.session._config),
    )


def test_text_longer_than_the_positions_is_refused(speaking: MakeComparison) -> None:
    """One position more than the model has: transformers raises, we say so; at the last position both speak."""
    comparison = with_rules(speaking(PLAIN), maxlenratio=0.0)
    longest = "a" * (PLAIN.text_positions - 2)  # a word begins with its own mark; the other is the end token
    assert len(frames_of(comparison.session, sentence(longest))) == len(
        comparison.speech(ids_of(comparison, longest), "ada", maxlenratio=0)[0]
    )
    with pytest.raises(RuntimeError):
        comparison.speech(ids_of(comparison, longest + "a"), "ada", maxlenratio=0)
    (failed,) = comparison.session.join([sentence(longest + "a")])
    assert "too long" in str(failed.error)  # type: ignore[union-attr]


def test_half_precision_checkpoints_match_transformers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Weights rounded to float16 by us, against the oracle with the same rounding."""
    comparison = make_comparison(tmp_path_factory.mktemp("half"), replace(PLAIN, name="half"))
    session = open_session(comparison.folder, StopRule(dropout=False, maxlenratio=4.0), weight_format="fp16")
    with torch.no_grad():
        for parameter in [*comparison.model.parameters()]:
            parameter.copy_(parameter.half().float())
        for name, buffer in comparison.model.named_buffers():
            if "running" in name:
                buffer.copy_(buffer.half().float())
    before, _ = comparison.speech(ids_of(comparison, TEXTS[2]), "ada", maxlenratio=4.0, minlenratio=4.0)
    session._stop_rule = StopRule(dropout=False, maxlenratio=4.0, minlenratio=4.0)
    frames = frames_of(session, sentence(TEXTS[2]))
    np.testing.assert_allclose(frames, before, rtol=0, atol=MEL_TOLERANCE)
