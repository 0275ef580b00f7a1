"""scripts/bench: every peer samples the number of tokens it should, and the roofline counts what PyTorch counts."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import WhisperForConditionalGeneration
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

from antiphon.benchmark.optional import import_extra
from tests.support import whisper_checkpoint

BENCH = Path(__file__).parents[2] / "bench"
ROOFLINE = SimpleNamespace(**runpy.run_path(str(BENCH / "roofline.py")))
SIZES = ROOFLINE.Dimensions(width=384, layers=4, decoder_layers=4, ffn=1536, vocabulary=51865)
OURS, FASTER = "antiphon", ("faster-whisper", "faster-whisper batched")
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
            whisper_checkpoint._config(whisper_checkpoint.PUBLISHED["tiny"]), attn_implementation="eager"
        )


def flops(run: object) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()  # type: ignore[operator]
    return int(counter.get_total_flops())


def test_window_flops_are_what_pytorch_counts(model: WhisperForConditionalGeneration) -> None:
    mel = torch.zeros(1, 80, 3000, device="meta")
    encoder = flops(lambda: model.model.encoder(mel))
    cross = SIZES.decoder_layers * 2 * 2 * ROOFLINE.POSITIONS * SIZES.width**2
    assert SIZES.window_flops == pytest.approx(encoder + cross, rel=1e-3)


def test_token_flops_are_what_pytorch_counts(model: WhisperForConditionalGeneration) -> None:
    """A step over the whole text, less the step before it: without a cache the two differ by the cost of one token."""
    states = torch.zeros(1, ROOFLINE.POSITIONS, SIZES.width, device="meta")

    def whole(tokens: int) -> int:
        ids = torch.zeros(1, tokens, dtype=torch.long, device="meta")
        return flops(
            lambda: model.proj_out(
                model.model.decoder(ids, encoder_hidden_states=states, use_cache=False).last_hidden_state
            )
        )

    difference = whole(101) - whole(100)
    # Each of the other tokens attends to one token more, too.
    others = SIZES.decoder_layers * 4 * SIZES.width * 100
    assert SIZES.row_flops(past=101) == pytest.approx(difference - others, rel=1e-3)


def test_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    least_seconds = ROOFLINE.least_seconds
    quick = ROOFLINE.Peak(numpy=1e12, openvino=1.0, bandwidth=1.0)
    read = SIZES.step_weights + SIZES.row_bytes(past=50)
    assert least_seconds(SIZES, quick, windows=1, rows=1, tokens=100) == pytest.approx(100 * read / 1e9, rel=1e-3)
    wide = ROOFLINE.Peak(numpy=1.0, openvino=2.0, bandwidth=1e12)
    computed = SIZES.window_flops + 100 * SIZES.row_flops(past=50)
    assert least_seconds(SIZES, wide, windows=1, rows=1, tokens=100) == pytest.approx(computed / 2e9, rel=1e-3)
    # In a batch the weights are read once for all.
    together = least_seconds(SIZES, quick, windows=8, rows=8, tokens=100)
    assert together < least_seconds(SIZES, quick, windows=8, rows=1, tokens=100)


def test_every_engine_generates_the_forced_number_of_tokens(tmp_path: Path) -> None:
    """One round of every scene: a window of 30 s, a clip of 4 s, and a file of two windows."""
    command = [sys.executable, str(BENCH / "compare.py"), "--shape", "tiny", "--work", str(tmp_path)]
    command += ["--clients", "2", "--short-clients", "2", "--each", "1", "--rounds", "1", "--minutes", "1"]
    command += ["--tokens", "7", "--short-tokens", "40", "--peers", OURS, *FASTER]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    scenes = json.loads(output.splitlines()[-1])["scenes"]
    forced = {"1 client": 7, "2 clients": 7, "2 clients, clips of 3 to 5 s": 40, "a file of 1 min": 2 * 7}
    assert list(scenes) == list(forced)
    for name, tokens in forced.items():
        sampled = scenes[name]["sampled"]
        assert [sampled[peer] for peer in FASTER] == [tokens, tokens], name
        # Antiphon cuts a file in its pauses, and may need one window more.
        assert tokens <= sampled[OURS] <= tokens + 7 * ("file" in name), name
        assert [row["peer"] for row in scenes[name]["rows"]] == [OURS, *FASTER]
        assert all(row["rtfx"] > 0 < row["roofline"] for row in scenes[name]["rows"])


@pytest.mark.filterwarnings("ignore:unclosed file .*english.json:ResourceWarning")  # openai-whisper's own
@pytest.mark.parametrize("text", TEXTS)
def test_texts_are_normalised_as_whisper_does(text: str) -> None:
    ours = import_extra("whisper_normalizer.english").EnglishTextNormalizer()
    assert ours(text) == EnglishTextNormalizer()(text)
    basic = import_extra("whisper_normalizer.basic").BasicTextNormalizer()
    assert basic(text) == BasicTextNormalizer()(text)
