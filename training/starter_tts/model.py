"""Owns the networks and their losses: transformers' SpeechT5, and heads that only training needs.

It must not know about files, clocks or optimisers."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional
from transformers import SpeechT5Config, SpeechT5ForTextToSpeech

from training.starter_tts.codec import END
from training.starter_tts.dataset import Batch
from training.starter_tts.mel import MELS
from training.starter_tts.speech import LANGUAGES, REDUCTION

WIDTH = 192
SPEAKER = 16
# The speaker embeddings tell the languages apart: directions at right angles to each other.
SPEAKERS = {"en": [1.0] * SPEAKER, "es": [1.0, -1.0] * (SPEAKER // 2)}
PRENET_DROPOUT = 0.5
# Sounds a letter can make at most: "x" makes two.
SLOTS = 2
# Of each decoder layer's four heads so many are shown where to look.
GUIDED_HEADS = 2
SMALL = 1e-5


def config_for(vocabulary: int) -> SpeechT5Config:
    """The shapes of starter-tts."""
    return SpeechT5Config(
        vocab_size=vocabulary,
        hidden_size=WIDTH,
        encoder_layers=4,
        encoder_attention_heads=4,
        encoder_ffn_dim=4 * WIDTH,
        decoder_layers=3,
        decoder_attention_heads=4,
        decoder_ffn_dim=4 * WIDTH,
        hidden_act="relu",
        encoder_layerdrop=0.0,
        decoder_layerdrop=0.0,
        positional_dropout=0.0,
        hidden_dropout=0.05,
        # Every draw costs time, and nothing is seen often enough to be known by heart.
        attention_dropout=0.0,
        activation_dropout=0.0,
        encoder_max_relative_position=20,
        num_mel_bins=MELS,
        reduction_factor=REDUCTION,
        speech_decoder_prenet_units=128,
        speech_decoder_prenet_dropout=PRENET_DROPOUT,
        speech_decoder_postnet_layers=3,
        speech_decoder_postnet_units=128,
        speech_decoder_postnet_dropout=0.1,
        speaker_embedding_dim=SPEAKER,
        max_text_positions=450,
        max_speech_positions=1000,
        eos_token_id=END,
        use_guided_attention_loss=False,
    )


class Learner(nn.Module):
    """SpeechT5, and what is asked of its encoder besides: which sounds, how long, when, and what they look like."""

    def __init__(self, vocabulary: int, sounds: int, mean: torch.Tensor) -> None:
        super().__init__()
        self.tts = SpeechT5ForTextToSpeech(config_for(vocabulary))
        self.sounds = nn.Linear(WIDTH, SLOTS * (sounds + 1))
        self.times = nn.Linear(WIDTH, 2)
        self.colours = nn.Linear(WIDTH, MELS)
        speakers = torch.tensor([SPEAKERS[language] for language in LANGUAGES])
        self.register_buffer("speakers", functional.normalize(speakers))
        self.start(mean)

    def start(self, mean: torch.Tensor) -> None:
        """Weights to begin with: transformers' are for a wide model, and would drown the letters in their places."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        encoder, decoder = self.tts.speecht5.encoder.prenet, self.tts.speecht5.decoder.prenet
        nn.init.normal_(encoder.embed_tokens.weight, std=1.0)
        with torch.no_grad():
            encoder.encode_positions.alpha.fill_(0.3)
            decoder.encode_positions.alpha.fill_(0.7)
            first = decoder.layers[0]
            first.bias.copy_(-first.weight @ mean)
            self.tts.speech_decoder_postnet.feat_out.bias.copy_(mean.repeat(REDUCTION))
            self.colours.bias.copy_(mean)

    def encode(self, batch: Batch) -> torch.Tensor:
        """`[b, n, width]`."""
        hidden: torch.Tensor = self.tts.speecht5.encoder(input_values=batch.ids, attention_mask=batch.mask)[0]
        return hidden

    def prenet(self, frames: torch.Tensor, languages: torch.Tensor) -> torch.Tensor:
        """transformers' own, but with units dropped anew for every clip: there all clips share one draw."""
        prenet = self.tts.speecht5.decoder.prenet
        hidden = frames
        for layer in prenet.layers:
            hidden = functional.dropout(functional.relu(layer(hidden)), PRENET_DROPOUT, training=True)
        hidden = prenet.encode_positions(prenet.final_layer(hidden))
        speaker = self.speakers[languages][:, None].expand(*hidden.shape[:2], -1)
        return functional.relu(prenet.speaker_embeds_layer(torch.cat([hidden, speaker], -1)))

    def decode(
        self, frames: torch.Tensor, hidden: torch.Tensor, batch: Batch
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """The decoder's states `[b, t, width]` after being fed `frames [b, t, mels]`, and where its layers looked."""
        out = self.tts.speecht5.decoder.wrapped_decoder(
            hidden_states=self.prenet(frames, batch.languages),
            encoder_hidden_states=hidden,
            encoder_attention_mask=batch.mask,
            use_cache=False,
            output_attentions=True,
        )
        return out.last_hidden_state, out.cross_attentions

    def frames_of(self, states: torch.Tensor) -> torch.Tensor:
        """Frames `[b, REDUCTION * t, mels]` before the post-net."""
        frames: torch.Tensor = self.tts.speech_decoder_postnet.feat_out(states)
        return frames.view(len(states), -1, MELS)


def fed(frames: torch.Tensor) -> torch.Tensor:
    """What the decoder sees at each step of `frames`: the last frame of the step before, at first nothing."""
    return functional.pad(frames[:, REDUCTION - 1 :: REDUCTION], (0, 0, 1, 0))[:, :-1]


def decoder_losses(
    learner: Learner, batch: Batch, states: torch.Tensor, attentions: tuple[torch.Tensor, ...]
) -> dict[str, torch.Tensor]:
    """How far the frames, before and behind the post-net, the end and the attention are from what they should be."""
    before = learner.frames_of(states)
    after = learner.tts.speech_decoder_postnet.postnet(before)
    there = batch.steps.repeat_interleave(REDUCTION, 1)[:, :, None]
    count = batch.steps.sum()
    losses = {
        name: ((made - batch.frames).abs() * there).sum() / (count * REDUCTION * MELS)
        for name, made in (("before", before), ("after", after))
    }
    ends = learner.tts.speech_decoder_postnet.prob_out(states)
    wanted = batch.last[:, :, None].expand_as(ends)
    stops = functional.binary_cross_entropy_with_logits(ends, wanted, reduction="none").mean(-1)
    losses["stop"] = (stops * batch.steps).sum() / len(ends)
    looked = torch.stack([one[:, :GUIDED_HEADS] for one in attentions]).clamp_min(SMALL).log()
    losses["aim"] = -(looked * batch.aims[None, :, None]).sum() / (count * GUIDED_HEADS * len(attentions))
    return losses


def encoder_losses(learner: Learner, batch: Batch, hidden: torch.Tensor) -> dict[str, torch.Tensor]:
    """What the encoder knows of each letter: its sounds (by CTC), its length and time, and its mean frame."""
    scores = learner.sounds(hidden).unflatten(-1, (SLOTS, -1)).flatten(1, 2).log_softmax(-1)
    losses = {
        "ctc": functional.ctc_loss(
            scores.transpose(0, 1),
            torch.tensor([one for sounds in batch.sounds for one in sounds]),
            SLOTS * batch.mask.sum(1).long(),
            torch.tensor([len(sounds) for sounds in batch.sounds]),
            blank=scores.shape[-1] - 1,
            zero_infinity=True,
        )
    }
    tokens = batch.mask[:, :, None]
    scale = torch.tensor([1.0, 0.1])
    losses["time"] = ((learner.times(hidden) - batch.times).abs() * scale * tokens).sum() / batch.mask.sum()
    heard = (batch.times[:, :, :1] > 0).float()
    far = (learner.colours(hidden) - batch.colours).abs() * heard
    losses["colour"] = far.sum() / (heard.sum() * MELS)
    return losses
