"""Vocoder plans give every sample its whole receptive field, and little more."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.models.speecht5.config import VocoderConfig
from antiphon.models.speecht5.receptive_field import (
    VocoderPlan,
    plan_vocoder,
    postnet_context,
    vocoder_context,
    with_context,
)
from tests.support.tiny_speecht5 import SHAPE, SOUND

PUBLISHED = VocoderConfig(
    mels=80,
    sample_rate=16_000,
    channels=512,
    rates=(4, 4, 4, 4),
    kernels=(8, 8, 8, 8),
    block_kernels=(3, 7, 11),
    block_dilations=((1, 3, 5),) * 3,
    slope=0.1,
    normalize=True,
)
SOUNDS = [
    PUBLISHED,
    SOUND,
    replace(SOUND, rates=(5, 1, 2), kernels=(5, 3, 8)),
    replace(SOUND, rates=(2,), kernels=(2,)),
]


def made(config: VocoderConfig, plan: VocoderPlan) -> int:
    """The samples that a run of the plan makes, following its cuts; every cut lies inside its stage's input."""
    length = plan.frames[1] - plan.frames[0]
    for (first, last), rate in zip(plan.cuts, [*config.rates, 1], strict=True):
        assert 0 <= first < last <= length
        length = (last - first) * rate
    return length


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(SOUNDS), st.integers(0, 200), st.integers(1, 130), st.integers(0, 60), st.booleans())
def test_vocoder_plan_makes_the_samples_of_the_chunk(
    config: VocoderConfig, first: int, length: int, later: int, known: bool
) -> None:
    last = first + length
    plan = plan_vocoder(config, (first, last), last + later if known else None)
    assert plan.samples[1] - plan.samples[0] == length * config.hop
    assert 0 <= plan.samples[0] < plan.samples[1] <= made(config, plan)
    context = vocoder_context(config)
    assert max(0, first - context) <= plan.frames[0] <= first
    assert last <= plan.frames[1] <= last + (min(context, later) if known else context)


def test_vocoder_plan_of_a_whole_sentence_has_no_cuts() -> None:
    plan = plan_vocoder(PUBLISHED, (0, 40), 40)
    assert plan.frames == (0, 40)
    assert plan.cuts == ((0, 40), (0, 160), (0, 640), (0, 2560), (0, 10240))
    assert plan.samples == (0, 10240)


def test_receptive_field_of_the_published_vocoder_is_24_frames_on_either_side() -> None:
    assert vocoder_context(PUBLISHED) == 24
    assert plan_vocoder(PUBLISHED, (100, 116), None).frames == (76, 140)


def test_inner_stages_do_little_more_than_the_chunk() -> None:
    """Cutting between the stages keeps the overlap cheap: 64 frames need 112, the most expensive stage 1 % more."""
    plan = plan_vocoder(PUBLISHED, (100, 164), None)
    assert plan.frames[1] - plan.frames[0] == 112
    done = [(last - first) / 64 / scale for (first, last), scale in zip(plan.cuts, (1, 4, 16, 64), strict=False)]
    assert done == pytest.approx([1.66, 1.16, 1.04, 1.01], abs=0.01)


def test_receptive_field_of_the_postnet_is_half_a_kernel_a_layer() -> None:
    assert postnet_context(SHAPE) == 6
    assert with_context((2, 9), 6, 12) == (0, 12)
    assert with_context((20, 30), 6, None) == (14, 36)
