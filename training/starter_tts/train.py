"""Owns the training of the acoustic model: the phases, the weights of the losses, the looks at what it can do.

It must not know how batches are made or models are exported.
Run (and rerun to resume): python -m training.starter_tts.train --work DIR --minutes 70"""

from __future__ import annotations

from pathlib import Path

import torch

from training.run import Run, options_for, prepare
from training.starter_tts.codec import Codec
from training.starter_tts.dataset import Batch, Clips, Draw
from training.starter_tts.model import Learner, decoder_losses, encoder_losses, fed

PEAK_RATE = 1.5e-3
WARM_UP_STEPS = 200
# Decoder steps in a batch of each process.
WORK = 450.0
# Until here clips grow from the shortest to all.
REACH_UNTIL = 0.15
SHORTEST_REACH = 0.25
# From here on the post-net normalises as it will in use: batches of short clips and of long ones differ too much.
STEADY_FROM = 0.4
# What the decoder is fed differs from the truth by up to so much, so that it learns to put itself right.
NOISE = 0.3
# From here on every tenth batch holds pairs of clips.
PAIRS_FROM = 0.4
PAIRS_EVERY = 10
# From here on it is also fed what it made itself.
OWN_FROM = 0.1
MOST_PASSES = 2
WEIGHTS = {"before": 1.0, "after": 1.0, "stop": 0.1, "aim": 0.2, "ctc": 0.15, "time": 0.2, "colour": 0.5}


class Training(Run):
    """The run of the acoustic model."""

    name = "acoustic"
    look_seconds = 240.0

    def __init__(self, work: Path, minutes: float, seed: int) -> None:
        codec = Codec.find(work)
        clips = Clips(work, "train", codec)
        self.batches = Draw(clips, seed)
        self.heldout = Clips(work, "heldout", codec, clips.names)
        mean = torch.from_numpy(clips.mels[:50000].astype("float32").mean(0))
        self.learner = Learner(codec.size, len(clips.names), mean)
        super().__init__(work, minutes, self.learner, PEAK_RATE, self.batches.random)
        if not self.step:
            count = sum(one.numel() for one in self.learner.tts.parameters())
            self.say(f"{len(clips)} clips, {len(clips.names)} sounds, {count / 1e6:.2f} M parameters")

    def inputs(self, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        """What the decoder is fed: the truth with noise, and later, in part, what it said when fed that, or that again."""
        truth = fed(batch.frames)
        noisy = truth + torch.randn_like(truth) * torch.rand(len(truth), 1, 1) * NOISE
        noisy[:, 0] = 0
        share = max(0.0, (self.progress - OWN_FROM) / (1 - OWN_FROM))
        if self.step % 2 or self.draw.random() > 3 * share:
            return noisy
        given = noisy
        for _ in range(self.draw.randint(1, MOST_PASSES)):
            with torch.no_grad():
                states, _ = self.learner.decode(given, hidden, batch.mask)
                own = fed(self.learner.frames_of(states))
            chosen = torch.rand(*truth.shape[:2], 1) < torch.rand(len(truth), 1, 1).sqrt()
            given = torch.where(chosen, own, noisy)
        return given

    def next_batch(self) -> Batch:
        """Short clips at first, then all, at last some pairs of them."""
        if self.progress > PAIRS_FROM and self.step % PAIRS_EVERY == 0:
            return self.batches.pairs(WORK)
        reach = SHORTEST_REACH + (1 - SHORTEST_REACH) * min(1.0, self.progress / REACH_UNTIL)
        return self.batches.batch(WORK, reach)

    def train_step(self) -> str:
        """One batch."""
        self.learner.tts.speech_decoder_postnet.train(self.progress < STEADY_FROM)
        batch = self.next_batch()
        hidden = self.learner.encode(batch)
        states, attentions = self.learner.decode(self.inputs(batch, hidden), hidden, batch.mask)
        losses = decoder_losses(self.learner, batch, states, attentions) | encoder_losses(self.learner, batch, hidden)
        rate = self.update(torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum(), WARM_UP_STEPS)
        shape = "x".join(map(str, batch.aims.shape))
        return " ".join(f"{name} {value.item():.3f}" for name, value in losses.items()) + f" lr {rate:.5f} {shape}"

    @torch.no_grad()
    def look(self) -> None:
        """Losses on held-out sentences: fed the truth, and fed what the model itself made of it, twice over."""
        self.learner.eval()
        batch = self.heldout.batch(list(range(0, len(self.heldout), 8)))
        hidden = self.learner.encode(batch)
        given = fed(batch.frames)
        told = []
        for _ in range(3):
            states, attentions = self.learner.decode(given, hidden, batch.mask)
            losses = decoder_losses(self.learner, batch, states, attentions)
            told.append(" ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))
            given = fed(self.learner.frames_of(states))
        ctc = encoder_losses(self.learner, batch, hidden)["ctc"].item()
        self.say(f"  held out: ctc {ctc:.3f}; truth: {told[0]}; own: {told[1]}; own of own: {told[2]}")
        self.learner.train()


def main() -> None:
    """Train, or go on training, the acoustic model of one work folder."""
    options = options_for(__doc__, 70.0).parse_args()
    seed = prepare(options, "training.starter_tts.train")
    Training(options.work, options.minutes, seed).go()


if __name__ == "__main__":
    main()
