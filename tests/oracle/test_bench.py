"""What the comparisons rest on: every peer samples as many tokens as it is told, and the roofline counts what PyTorch counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import WhisperForConditionalGeneration
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

from antiphon.benchmark.clips import make_noise
from antiphon.benchmark.optional import import_extra
from bench import checkpoints
from bench.checkpoints import Shape
from bench.peers import BATCHED, OURS, SINGLE, load_peers, prepare
from bench.roofline import POSITIONS, Dimensions, Peak, least_seconds

SIZES = Dimensions(width=384, layers=4, decoder_layers=4, ffn=1536, vocabulary=51865)
TEXTS = (
    "Mr. O'Brien won't pay $20.50, he said; that's twenty-one per cent!",
    "[music] Um, the colour of the grey aeroplane (a big one) can't be analysed... 3,000 times.",
    "She'd gone to the 2nd floor at one oh one, mm-hmm.",
    "Ça va? El niño comió dos manzanas.",
)


@pytest.fixture(scope="module")
def model() -> WhisperForConditionalGeneration:
    """The tiny shape, without numbers in it."""
    with torch.device("meta"):
        return WhisperForConditionalGeneration._from_config(
            checkpoints._config(checkpoints.PUBLISHED["tiny"]), attn_implementation="eager"
        )


def flops(run: object) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()  # type: ignore[operator]
    return int(counter.get_total_flops())


def test_a_window_costs_what_pytorch_counts(model: WhisperForConditionalGeneration) -> None:
    mel = torch.zeros(1, 80, 3000, device="meta")
    encoder = flops(lambda: model.model.encoder(mel))
    cross = SIZES.decoder_layers * 2 * 2 * POSITIONS * SIZES.width**2
    assert SIZES.window_flops == pytest.approx(encoder + cross, rel=1e-3)


def test_a_token_costs_what_pytorch_counts(model: WhisperForConditionalGeneration) -> None:
    """A step over the whole text so far, less the step before it: without a cache the two differ by one token's."""
    heard = torch.zeros(1, POSITIONS, SIZES.width, device="meta")

    def whole(tokens: int) -> int:
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        return flops(
            lambda: model.proj_out(
                model.model.decoder(ids, encoder_hidden_states=heard, use_cache=False).last_hidden_state
            )
        )

    found = whole(101) - whole(100)
    # Every one of the others looks at one token more, too.
    others = SIZES.decoder_layers * 4 * SIZES.width * 100
    assert SIZES.row_flops(past=101) == pytest.approx(found - others, rel=1e-3)


def test_the_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    quick = Peak(numpy=1e12, openvino=1.0, bandwidth=1.0)
    read = SIZES.step_weights + SIZES.row_bytes(past=50)
    assert least_seconds(SIZES, quick, windows=1, rows=1, tokens=100) == pytest.approx(100 * read / 1e9, rel=1e-3)
    wide = Peak(numpy=1.0, openvino=2.0, bandwidth=1e12)
    computed = SIZES.window_flops + 100 * SIZES.row_flops(past=50)
    assert least_seconds(SIZES, wide, windows=1, rows=1, tokens=100) == pytest.approx(computed / 2e9, rel=1e-3)
    # Side by side the weights are read once for all.
    together = least_seconds(SIZES, quick, windows=8, rows=8, tokens=100)
    assert together < least_seconds(SIZES, quick, windows=8, rows=1, tokens=100)


def test_every_peer_samples_as_many_tokens_as_it_is_told(tmp_path: Path) -> None:
    names = (OURS, SINGLE, BATCHED)
    shape = Shape("small", width=64, heads=4, layers=1, init_std=0.02)
    peers = load_peers(prepare(tmp_path, shape, names), names, "int8")
    generator = np.random.default_rng(0)
    for seconds, windows in ((4.0, 1), (30.0, 1), (60.0, 2)):
        clip = make_noise(seconds, generator)
        for name, transcribe in peers.items():
            for tokens in (7, 40):
                # Ours cuts a file in its pauses, and may need a window more.
                least, most = windows * tokens, (windows + (name == OURS and windows > 1)) * tokens
                assert least <= transcribe(clip, tokens) <= most, (name, seconds)


@pytest.mark.filterwarnings("ignore:unclosed file .*english.json:ResourceWarning")  # openai-whisper's own
@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_normalised_as_whisper_does(text: str) -> None:
    ours = import_extra("whisper_normalizer.english").EnglishTextNormalizer()
    assert ours(text) == EnglishTextNormalizer()(text)
    basic = import_extra("whisper_normalizer.basic").BasicTextNormalizer()
    assert basic(text) == BasicTextNormalizer()(text)
