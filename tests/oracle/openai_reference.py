"""A checkpoint as openai-whisper has it: the same weights under its own names, for what only it implements."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import WhisperForConditionalGeneration
from whisper.model import ModelDimensions, Whisper

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


def openai_model(model: WhisperForConditionalGeneration, heads: Sequence[tuple[int, int]] = ()) -> Whisper:
    """The same weights as openai-whisper's own model; every tensor must find its place.

    `heads`, if any are given, are those it aligns words by.
    """
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
    if heads:
        mask = torch.zeros(config.decoder_layers, config.decoder_attention_heads, dtype=torch.bool)
        mask[tuple(zip(*heads, strict=True))] = True
        whisper.register_buffer("alignment_heads", mask.to_sparse(), persistent=False)
    return whisper.eval()
