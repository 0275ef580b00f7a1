"""One window through openai-whisper itself, with the same weights: tokens and scores."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from driving import drive, make_unit
from transformers import WhisperForConditionalGeneration
from whisper.decoding import DecodingOptions, decode
from whisper.model import ModelDimensions, Whisper

from bench.checkpoints import Shape
from tests.oracle.shapes import DISTILLED, ENGLISH, PLAIN, UNEVEN
from tests.oracle.signals import chirps
from tests.oracle.twin import Twin

# transformers' names, longest first where one holds another, and openai-whisper's.
_NAMES = [
    ("model.", ""),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn_layer_norm", "attn_ln"),
    ("self_attn", "attn"),
    ("final_layer_norm", "mlp_ln"),
    ("encoder.layer_norm", "encoder.ln_post"),
    ("decoder.layer_norm", "decoder.ln"),
    ("layers", "blocks"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
    ("embed_tokens", "token_embedding"),
    ("embed_positions.weight", "positional_embedding"),
]


def rename(name: str) -> str:
    for theirs, new in _NAMES:
        name = name.replace(theirs, new)
    return name


def openai_model(model: WhisperForConditionalGeneration) -> Whisper:
    """The same weights as openai-whisper's own model; every tensor must find its place."""
    config = model.config
    whisper = Whisper(
        ModelDimensions(
            n_mels=config.num_mel_bins,
            n_audio_ctx=1500,
            n_audio_state=config.d_model,
            n_audio_head=config.encoder_attention_heads,
            n_audio_layer=config.encoder_layers,
            n_vocab=config.vocab_size,
            n_text_ctx=448,
            n_text_state=config.d_model,
            n_text_head=config.decoder_attention_heads,
            n_text_layer=config.decoder_layers,
        )
    )
    weights = {rename(name): value for name, value in model.state_dict().items() if name != "proj_out.weight"}
    whisper.load_state_dict(weights)
    return whisper.eval()


@pytest.mark.parametrize("timestamps", [False, True], ids=["plain", "timed"])
@pytest.mark.parametrize("prompt", [None, "The sea, the red house."], ids=["bare", "prompted"])
@pytest.mark.parametrize("shape", [PLAIN, UNEVEN, DISTILLED, ENGLISH], ids=lambda shape: shape.name)
def test_the_window_is_openais(
    shape: Shape, prompt: str | None, timestamps: bool, twin_of: Callable[[Shape], Twin]
) -> None:
    twin, samples = twin_of(shape), chirps(6, seed=13)
    theirs = decode(
        openai_model(twin.model),
        twin.features(samples)[0],
        DecodingOptions(
            language=None if twin.config.multilingual else "en",
            temperature=0.0,
            sample_len=40,
            prompt=prompt,
            suppress_tokens=[1, 2, 7, 8, 9, 10, 14, 25],  # and the controls, as in the checkpoint
            without_timestamps=not timestamps,
            fp16=False,
        ),
    )
    unit = make_unit(samples, timestamps=timestamps, prompt=prompt, max_new_tokens=40)
    (ours,) = drive(twin.session, [unit])
    assert list(ours.tokens) == theirs.tokens
    assert ours.language == theirs.language
    assert ours.avg_logprob == pytest.approx(theirs.avg_logprob, abs=1e-4)
    assert ours.no_speech_prob == pytest.approx(theirs.no_speech_prob, abs=1e-4)
