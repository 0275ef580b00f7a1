"""Owns the training of the acoustic model: the phases, the weights of the losses, the looks at what it can do.

It must not know how batches are made or models are exported.
Run (and rerun to resume): python -m training.starter_tts.train --work DIR --minutes 70"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from training.run import Span, options_for, prepare
from training.starter_tts.begin import ACOUSTIC
from training.starter_tts.codec import Codec
from training.starter_tts.dataset import Batch, Clips, Draw, all_sounds, batch_of
from training.starter_tts.model import Learner, decoder_losses, encoder_losses, fed
from training.starter_tts.speech import LANGUAGES

WARM_UP_STEPS = 200
# Decoder steps in a batch of each process.
WORK = 450.0
SHORTEST_REACH = 0.25
# What the decoder is fed differs from the truth by up to so much, so that it learns to put itself right.
NOISE = 0.3
CHAINS_EVERY = 6
MOST_PASSES = 2
# The heads of a run that goes on from an exported model, which has none.
HEAD_STEPS = 200
HEAD_RATE = 1e-2
WEIGHTS = {"before": 1.0, "after": 1.0, "stop": 0.1, "aim": 0.2, "ctc": 0.15, "time": 0.2, "colour": 0.5}


@dataclass(frozen=True)
class Plan:
    """What a run does when, in shares of its budget."""

    rate: float
    # Until here clips grow from the shortest to all.
    reach_until: float
    # From here on the post-net normalises as it will in use: batches of short clips and of long ones differ too much.
    steady_from: float
    # From here on every sixth batch holds several clips in one.
    chains_from: float
    # From here on the decoder is also fed what it made itself, so often only later.
    own_from: float
    own_rise: float
    # Of Spanish in a batch, at first and at last.
    spanish: tuple[float, float]


FROM_NOTHING = Plan(
    1.5e-3, reach_until=0.15, steady_from=0.4, chains_from=0.4, own_from=0.1, own_rise=0.3, spanish=(0.5, 0.5)
)
GOING_ON = Plan(1e-3, reach_until=0.0, steady_from=0.0, chains_from=0.2, own_from=0.0, own_rise=0.1, spanish=(0.7, 0.5))


class Training(Span):
    """The run of the acoustic model."""

    name = "acoustic"
    look_seconds = 240.0

    def __init__(self, work: Path, minutes: float, seed: int) -> None:
        codec, names = Codec.find(work), all_sounds(work)
        self.plan = FROM_NOTHING
        if (work / f"{ACOUSTIC}.pt").exists():
            self.plan, self.origin = GOING_ON, ACOUSTIC
        clips = [Clips(work, "train", language, codec, names) for language in LANGUAGES]
        self.batches = Draw(clips, seed)
        self.heldout = [Clips(work, "heldout", language, codec, names) for language in LANGUAGES]
        mean = torch.from_numpy(clips[0].mels[:50000].astype("float32").mean(0))
        self.learner = Learner(codec.size, len(names), mean)
        super().__init__(work, minutes, self.learner, self.plan.rate, self.batches.random)
        if not self.step:
            count = sum(one.numel() for one in self.learner.tts.parameters())
            many = " + ".join(str(len(one)) for one in clips)
            self.say(f"{many} clips, {len(names)} sounds, {count / 1e6:.2f} M parameters")

    def begin(self, path: Path) -> None:
        """Start from an exported model; the heads that only training needs are new."""
        state = torch.load(path, weights_only=False)
        self.learner.load_state_dict(self.learner.state_dict() | state["network"])
        self.say(f"going on from {state['model']}")
        self.practise()

    def practise(self) -> None:
        """Let the new heads learn what the encoder tells, before the encoder learns from them."""
        heads = (self.learner.sounds, self.learner.times, self.learner.colours)
        optimiser = torch.optim.Adam([one for head in heads for one in head.parameters()])
        for step in range(HEAD_STEPS):
            batch = self.next_batch()
            with torch.no_grad():
                hidden = self.learner.encode(batch)
            losses = encoder_losses(self.learner, batch, hidden)
            optimiser.zero_grad()
            torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum().backward()
            for group in optimiser.param_groups:
                group["lr"] = HEAD_RATE * (1 - step / HEAD_STEPS)
            optimiser.step()
        self.say(" ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))

    def inputs(self, batch: Batch, hidden: torch.Tensor) -> torch.Tensor:
        """What the decoder is fed: the truth with noise, and later, in part, what it said when fed that, or that again."""
        truth = fed(batch.frames)
        noisy = truth + torch.randn_like(truth) * torch.rand(len(truth), 1, 1) * NOISE
        noisy[:, 0] = 0
        if self.step % 2 or self.draw.random() * self.plan.own_rise > self.progress - self.plan.own_from:
            return noisy
        given = noisy
        for _ in range(self.draw.randint(1, MOST_PASSES)):
            with torch.no_grad():
                states, _ = self.learner.decode(given, hidden, batch)
                own = fed(self.learner.frames_of(states))
            chosen = torch.rand(*truth.shape[:2], 1) < torch.rand(len(truth), 1, 1).sqrt()
            given = torch.where(chosen, own, noisy)
        return given

    def next_batch(self) -> Batch:
        """Short clips at first, then all, at last, by times, several in one."""
        plan = self.plan
        if self.progress > plan.chains_from and self.step % CHAINS_EVERY == 0:
            return self.batches.chains(WORK)
        grown = 1.0 if self.progress >= plan.reach_until else self.progress / plan.reach_until
        spanish = plan.spanish[0] + (plan.spanish[1] - plan.spanish[0]) * self.progress
        return self.batches.batch(WORK, SHORTEST_REACH + (1 - SHORTEST_REACH) * grown, [1 - spanish, spanish])

    def train_step(self) -> str:
        """One batch."""
        self.learner.tts.speech_decoder_postnet.train(self.progress < self.plan.steady_from)
        batch = self.next_batch()
        hidden = self.learner.encode(batch)
        states, attentions = self.learner.decode(self.inputs(batch, hidden), hidden, batch)
        losses = decoder_losses(self.learner, batch, states, attentions) | encoder_losses(self.learner, batch, hidden)
        rate = self.update(torch.stack([WEIGHTS[name] * value for name, value in losses.items()]).sum(), WARM_UP_STEPS)
        shape = "x".join(map(str, batch.aims.shape))
        return " ".join(f"{name} {value.item():.3f}" for name, value in losses.items()) + f" lr {rate:.5f} {shape}"

    @torch.no_grad()
    def look(self) -> None:
        """Losses on held-out sentences: fed the truth, and fed what the model itself made of it, twice over."""
        self.learner.eval()
        for language, clips in zip(LANGUAGES, self.heldout, strict=True):
            batch = batch_of([clips.utterance(place) for place in range(0, len(clips), 8)])
            hidden = self.learner.encode(batch)
            given = fed(batch.frames)
            told = []
            for _ in range(3):
                states, attentions = self.learner.decode(given, hidden, batch)
                losses = decoder_losses(self.learner, batch, states, attentions)
                told.append(" ".join(f"{name} {value.item():.3f}" for name, value in losses.items()))
                given = fed(self.learner.frames_of(states))
            ctc = encoder_losses(self.learner, batch, hidden)["ctc"].item()
            self.say(f"  {language} held out: ctc {ctc:.3f}; truth: {told[0]}; own: {told[1]}; own of own: {told[2]}")
        self.learner.train()


def main() -> None:
    """Train, or go on training, the acoustic model of one work folder."""
    options = options_for(__doc__, 70.0).parse_args()
    seed = prepare(options, "training.starter_tts.train")
    Training(options.work, options.minutes, seed).go()


if __name__ == "__main__":
    main()
