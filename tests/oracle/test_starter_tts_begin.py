"""Going on from a finished voice: what it knew stays where it was, and a new letter begins as its neighbour."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import SpeechT5ForTextToSpeech

from training.starter_tts.begin import ACOUSTIC, VOCODER, begin, stop_shift, widen_embedding
from training.starter_tts.codec import PIECES, PLAIN, SPANISH, Codec, make_pieces, piece
from training.starter_tts.model import Learner
from training.starter_tts.vocoder import make_vocoder

pytestmark = pytest.mark.oracle

STARTER = Path(__file__).parents[2] / "src" / "antiphon" / "starter" / "tts"
ENGLISH = make_pieces()[: -sum(len(piece(letter)) for letter in SPANISH)]


def test_a_new_letter_begins_near_its_neighbour() -> None:
    before, after = Codec(ENGLISH), Codec(make_pieces())
    old = torch.randn(before.size, 64)
    new = widen_embedding(old, before, after)
    assert torch.equal(new[: before.size], old)
    assert len(new) == after.size
    for letter, plain in PLAIN.items():
        far = new[after.processor.piece_to_id(letter)] - old[before.processor.piece_to_id(plain)]
        assert 0 < far.norm() < 0.2 * old[before.processor.piece_to_id(plain)].norm()


def test_a_model_of_other_letters_is_refused() -> None:
    before, after = Codec(ENGLISH + piece("ß")), Codec(make_pieces())
    with pytest.raises(RuntimeError, match="letters of the model are not the first ones"):
        widen_embedding(torch.randn(before.size, 8), before, after)


def test_both_runs_can_start_from_the_shipped_model(tmp_path: Path) -> None:
    begin(tmp_path, STARTER, 0)
    network = torch.load(tmp_path / f"{ACOUSTIC}.pt")["network"]
    codec = Codec((tmp_path / PIECES).read_bytes())
    learner = Learner(codec.size, 3, torch.zeros(80))
    learner.load_state_dict(learner.state_dict() | network)
    shipped = SpeechT5ForTextToSpeech.from_pretrained(STARTER, dtype=torch.float32).state_dict()
    ends = "speech_decoder_postnet.prob_out.bias"
    torch.testing.assert_close(network[f"tts.{ends}"] + stop_shift(4), shipped[ends])
    english = (STARTER / "voices" / "english.bin").read_bytes()
    assert learner.speakers[0].numpy().astype("<f4").tobytes() == english
    assert float(learner.speakers[0] @ learner.speakers[1]) == pytest.approx(0)
    make_vocoder().load_state_dict(torch.load(tmp_path / f"{VOCODER}.pt")["network"])
