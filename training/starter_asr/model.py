"""Owns the network: a small Whisper, its mel front end, and the CTC head used only in training.

It must not know where text and speech come from or how long training lasts."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration

from training.starter_asr.codec import CHARACTERS, TIMESTAMPS, Codec

WIDTH = 192
LAYERS = 4
HEADS = 3
HOP = 160
# Heads of the decoder (layer, head) that are shown where to listen, and how nearly, in frames.
GUIDED_HEADS = ((1, 0), (2, 0), (3, 0))
AIM_WIDTH = 12.0
WINDOW_SAMPLES = 480000


def whisper_config(codec: Codec) -> WhisperConfig:
    """The architecture; every number of it is in here."""
    return WhisperConfig(
        vocab_size=codec.size,
        d_model=WIDTH,
        encoder_layers=LAYERS,
        decoder_layers=LAYERS,
        encoder_attention_heads=HEADS,
        decoder_attention_heads=HEADS,
        encoder_ffn_dim=WIDTH * 4,
        decoder_ffn_dim=WIDTH * 4,
        num_mel_bins=80,
        max_source_positions=1500,
        max_target_positions=448,
        # There is more new material than one run can learn, and masks are slow to draw on a CPU.
        dropout=0.0,
        decoder_start_token_id=codec.start,
        pad_token_id=codec.end,
        bos_token_id=codec.end,
        eos_token_id=codec.end,
        suppress_tokens=[],
        begin_suppress_tokens=codec.tokenizer.encode(" ").ids,
    )


def sinusoids(length: int, width: int) -> torch.Tensor:
    """The position code of Whisper's encoder."""
    rates = torch.exp(-math.log(10000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


class LogMel:
    """The feature extractor of Whisper for a batch of windows of any one length."""

    def __init__(self) -> None:
        filters = np.asarray(WhisperFeatureExtractor(feature_size=80).mel_filters)
        self.filters = torch.tensor(filters, dtype=torch.float32).T
        self.window = torch.hann_window(400)

    def __call__(self, sound: torch.Tensor) -> torch.Tensor:
        """[batch, samples] to [batch, 80, samples / 160]; each window has its own maximum."""
        waves = torch.stft(sound, 400, HOP, window=self.window, return_complex=True)
        power = waves[..., :-1].abs() ** 2
        levels = torch.log10(torch.clamp(self.filters @ power, min=1e-10))
        loudest = levels.amax((1, 2), keepdim=True)
        return (torch.maximum(levels, loudest - 8.0) + 4.0) / 4.0


class Learner(nn.Module):
    """Whisper with a character CTC head beside its decoder."""

    def __init__(self, codec: Codec) -> None:
        super().__init__()
        self.whisper = WhisperForConditionalGeneration(whisper_config(codec))
        self.characters = nn.Linear(WIDTH, len(CHARACTERS) + 1)
        # Timestamp k means encoder position k, so its embedding starts as that position's code
        # (less what all have in common): neighbours are alike from the first step, and 1501 tokens
        # need not be learnt one by one.
        code = sinusoids(len(TIMESTAMPS), WIDTH)
        with torch.no_grad():
            weight = self.whisper.model.decoder.embed_tokens.weight
            weight[codec.first_timestamp :] = 0.02 * (code - code.mean(0))

    def encode(self, features: torch.Tensor, offset: int = 0) -> torch.Tensor:
        """The encoder on windows of any length; transformers' own insists on 30 s.

        `offset` is the position of the first frame, as if silence before it had been skipped."""
        encoder = self.whisper.model.encoder
        hidden = functional.gelu(encoder.conv1(features))
        hidden = functional.gelu(encoder.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + encoder.embed_positions.weight[offset : offset + hidden.shape[1]]
        for layer in encoder.layers:
            hidden = layer(hidden, None, None)[0]
        return encoder.layer_norm(hidden)

    def decode(self, tokens: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Logits after every token."""
        decoder = self.whisper.model.decoder
        output = decoder(input_ids=tokens, encoder_hidden_states=hidden, use_cache=False)
        return self.whisper.proj_out(output.last_hidden_state)

    def decode_aiming(
        self, tokens: torch.Tensor, hidden: torch.Tensor, aims: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits, and how far the guided heads look away from where the words are spoken.

        The loss is the negative log of the attention that falls near the aim."""
        # Only the plain implementation gives its attention away.
        self.whisper.config._attn_implementation = "eager"
        output = self.whisper.model.decoder(
            input_ids=tokens, encoder_hidden_states=hidden, use_cache=False, output_attentions=True
        )
        self.whisper.config._attn_implementation = "sdpa"
        rows, places = torch.nonzero(aims >= 0, as_tuple=True)
        if not len(rows):
            return self.whisper.proj_out(output.last_hidden_state), hidden.sum() * 0.0
        frames = torch.arange(hidden.shape[1])
        away = (frames[None, :] - aims[rows, places][:, None]) / AIM_WIDTH
        near = torch.exp(-0.5 * away**2)
        misses = [
            -torch.log((output.cross_attentions[layer][rows, head, places] * near).sum(-1) + 1e-6)
            for layer, head in GUIDED_HEADS
        ]
        return self.whisper.proj_out(output.last_hidden_state), torch.stack(misses).mean()


def greedy(learner: Learner, hidden: torch.Tensor, prompt: list[int], end: int) -> list[list[int]]:
    """The likeliest token after token for each window; simple rather than quick."""
    tokens = torch.tensor([prompt]).repeat(len(hidden), 1)
    finished = torch.zeros(len(hidden), dtype=torch.bool)
    for _ in range(80):
        following = learner.decode(tokens, hidden)[:, -1].argmax(-1)
        following[finished] = end
        tokens = torch.cat([tokens, following[:, None]], dim=1)
        finished |= following == end
        if bool(finished.all()):
            break
    return [row[len(prompt) :] for row in tokens.tolist()]
