"""Owns the training run: the clock, the phases, the losses, the checkpoints.

It must not know how windows are made or models are exported.
Run (and rerun to resume): python -m training.starter_asr.train --work DIR --minutes 110"""

from __future__ import annotations

import argparse
import signal
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.nn import functional

from training.starter_asr.codec import CHARACTERS, Codec, train_tokenizer
from training.starter_asr.dataset import FULL, IGNORED, Batch, Clips, Windows
from training.starter_asr.model import Learner, LogMel, greedy
from training.starter_asr.text import normalise

PHASE_A_END = 0.42
# From here on probabilities may become certain: thresholds are compared with them in use.
SHARP_FROM = 0.85
# Noise, prompts and late starts wait until the words are known: half an hour of them from the
# first step on taught the decoder nothing.
HARD_FROM = 0.5
CTC_FALLS = 0.8
# Without being shown where to listen the decoder may stay a mere language model for an hour.
GUIDED_UNTIL = 0.85
AIM_WEIGHT = 0.3
# Most of a timestamp's loss says nothing about words.
TIMESTAMP_WEIGHT = 0.3
# What is learnt on short windows holds in padded ones of 30 s, at a third of the price.
KINDS = ("single", "several", "single", "several", "single", "full")
# Windows of several sentences most of all: where a model of single ones loses its place.
POLISH_KINDS = ("several", "full", "single", "several", "full", "several")
# Seconds of sound in one batch of each phase.
WORK_A = 70.0
WORK_B = 80.0
WORK_C = 120.0
PEAK_RATE = 1.2e-3
# Going on from a finished run: what is known must not be shaken out again.
POLISH_RATE = 7e-4
WARM_UP_STEPS = 200
# A step that seems to last longer was a paused process, and the pause costs no budget.
LONGEST_STEP = 20.0
CHECKPOINT_SECONDS = 180.0
EVALUATION_SECONDS = 480.0


class Run:
    """One training run with everything a checkpoint must hold."""

    def __init__(self, work: Path, minutes: float, seed: int, bfloat16: bool = False, polish: bool = False) -> None:
        self.work = work
        self.bfloat16 = bfloat16
        self.polish = polish
        self.budget = minutes * 60
        self.path = work / "checkpoint.pt"
        torch.manual_seed(seed)
        clips = Clips(work, "train")
        self.heldout = Clips(work, "heldout")
        self.codec = self.find_codec(clips)
        self.windows = Windows(clips, self.codec, seed)
        self.learner = Learner(self.codec)
        self.mel = LogMel()
        self.token_weights = torch.ones(self.learner.whisper.config.vocab_size)
        self.token_weights[self.codec.first_timestamp :] = TIMESTAMP_WEIGHT
        parameters = [one for one in self.learner.parameters() if one.requires_grad]
        self.optimiser = torch.optim.AdamW(parameters, lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.elapsed = 0.0
        self.step = 0
        self.evaluated = 0.0
        self.saved = 0.0
        self.stopping = False
        if self.path.exists():
            self.resume()

    def find_codec(self, clips: Clips) -> Codec:
        """The tokenizer of this work folder, trained on first use."""
        path = self.work / "bpe.json"
        if not path.exists():
            Codec(train_tokenizer(clips.texts)).save(path)
        return Codec.load(path)

    def resume(self) -> None:
        """Take up the last checkpoint; the schedule follows the budget given now."""
        state: dict[str, Any] = torch.load(self.path, weights_only=False)
        self.learner.load_state_dict(state["learner"])
        self.optimiser.load_state_dict(state["optimiser"])
        for group in self.optimiser.param_groups:
            group["fused"], group["foreach"] = True, False
        if self.polish and not state.get("polish"):
            self.say(f"polishing what {state['step']} steps made")
        else:
            self.elapsed, self.step = state["elapsed"], state["step"]
        self.evaluated = self.saved = self.elapsed
        torch.set_rng_state(state["torch_random"])
        self.windows.draw.setstate(state["draw"])
        self.windows.noise.bit_generator.state = state["noise"]
        self.say(f"resumed at step {self.step}")

    def save(self) -> None:
        """Write a checkpoint so that being cut off at any moment leaves a whole one."""
        state = {
            "learner": self.learner.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "elapsed": self.elapsed,
            "step": self.step,
            "polish": self.polish,
            "torch_random": torch.get_rng_state(),
            "draw": self.windows.draw.getstate(),
            "noise": self.windows.noise.bit_generator.state,
        }
        fresh = self.path.with_suffix(".new")
        torch.save(state, fresh)
        fresh.replace(self.path)
        self.saved = self.elapsed

    def say(self, line: str) -> None:
        """One line of progress, to the screen and to train.log."""
        text = f"{time.strftime('%H:%M:%S')} {self.elapsed / 60:6.1f} min  {line}"
        print(text, flush=True)
        with (self.work / "train.log").open("a", encoding="utf-8") as log:
            log.write(text + "\n")

    def precision(self) -> torch.autocast:
        """Mixed precision where it was asked for: a gain only where the processor has bfloat16."""
        return torch.autocast("cpu", dtype=torch.bfloat16, enabled=self.bfloat16)

    def next_batch(self, progress: float) -> Batch:
        """What the phase calls for."""
        if progress < PHASE_A_END and not self.polish:
            # The decoder finds the encoder on short clips, but the short half alone is soon known by heart.
            if self.step % 6 or progress < PHASE_A_END / 4:
                return self.windows.single(WORK_A, min(1.0, 0.4 + 3 * progress / PHASE_A_END))
            return self.windows.several(WORK_B)
        kinds = POLISH_KINDS if self.polish else KINDS
        match kinds[self.step % len(kinds)]:
            case "single":
                return self.windows.single(WORK_A, 1.0)
            case "several":
                return self.windows.several(WORK_B)
            case _:
                return self.windows.full(WORK_C)

    def losses(self, batch: Batch, smoothing: float, guided: bool) -> dict[str, torch.Tensor]:
        """Cross entropy of the decoder, CTC of the encoder, and what guides attention, if asked."""
        features = self.mel(batch.sound)
        losses: dict[str, torch.Tensor] = {}
        with self.precision():
            hidden = self.learner.encode(features, batch.offset)
            if guided:
                logits, losses["aim"] = self.learner.decode_aiming(batch.tokens, hidden, batch.aims)
            else:
                logits = self.learner.decode(batch.tokens, hidden)
        losses["ce"] = functional.cross_entropy(
            logits.float().flatten(0, 1),
            batch.labels.flatten(),
            ignore_index=IGNORED,
            label_smoothing=smoothing,
            weight=self.token_weights if self.windows.easy else None,
        )
        losses["ctc"] = self.character_loss(hidden, batch)
        return losses

    def character_loss(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        """CTC per character, over the windows that have a whole transcript."""
        rows = [row for row, wanted in enumerate(batch.characters) if wanted]
        if not rows:
            return hidden.sum() * 0.0
        wanted = [torch.tensor(batch.characters[row]) for row in rows]
        scores = self.learner.characters(hidden[rows].float()).log_softmax(-1)
        return functional.ctc_loss(
            scores.transpose(0, 1),
            torch.cat(wanted),
            torch.tensor([min(hidden.shape[1], batch.lengths[row] + 10) for row in rows]),
            torch.tensor([len(one) for one in wanted]),
            blank=len(CHARACTERS),
            zero_infinity=True,
        )

    def train_step(self, progress: float) -> str:
        """One step of the optimiser; returns what to log about it."""
        peak = POLISH_RATE if self.polish else PEAK_RATE
        rate = peak * min(1.0, (self.step + 1) / WARM_UP_STEPS) * (1 - 0.995 * progress**4)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.windows.easy = progress < HARD_FROM and not self.polish
        batch = self.next_batch(progress)
        smoothing = 0.05 if progress < SHARP_FROM else 0.0
        losses = self.losses(batch, smoothing, progress < GUIDED_UNTIL)
        weights = {"ce": 1.0, "ctc": 1.0 if progress < CTC_FALLS else 0.3, "aim": AIM_WEIGHT}
        loss = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.learner.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        shape = "x".join(map(str, batch.sound.shape))
        values = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
        return f"{values} lr {rate:.5f} {shape}"

    def word_error_rate(self, progress: float) -> float:
        """Greedy error on a few held-out sentences, in windows of the kind being trained."""
        import jiwer

        self.learner.eval()
        numbers = list(range(0, len(self.heldout), max(1, len(self.heldout) // 36)))
        codec, spoken, heard = self.codec, [], []
        prompt = [codec.start, codec.english, codec.transcribe, codec.no_timestamps]
        for first in range(0, len(numbers), 12):
            group = numbers[first : first + 12]
            size = FULL if progress >= PHASE_A_END else max(map(self.heldout.length, group)) + 3200
            sound = torch.zeros(len(group), size + -size % 320)
            for row, number in enumerate(group):
                clip = torch.from_numpy(self.heldout.sound(number))
                sound[row, : len(clip)] = clip
            with torch.inference_mode(), self.precision():
                hidden = self.learner.encode(self.mel(sound))
                said = greedy(self.learner, hidden, prompt, codec.end)
            spoken += [normalise(self.heldout.texts[number]) for number in group]
            heard += [normalise(codec.decode(tokens)) for tokens in said]
        self.learner.train()
        for pair in list(zip(spoken, heard, strict=False))[::12]:
            self.say(f"  {pair[0]!r} -> {pair[1]!r}")
        return float(jiwer.wer(spoken, heard))

    def go(self) -> None:
        """Train until the budget is spent."""
        signal.signal(signal.SIGTERM, self.stop)
        self.learner.train()
        while self.elapsed < self.budget and not self.stopping:
            progress = self.elapsed / self.budget
            began = time.monotonic()
            line = self.train_step(progress)
            if self.step % 50 == 0:
                self.say(f"step {self.step} {progress:.3f} {line}")
            if self.elapsed - self.evaluated > EVALUATION_SECONDS:
                self.evaluated = self.elapsed
                self.say(f"held-out WER {100 * self.word_error_rate(progress):.1f} %")
            if self.elapsed - self.saved > CHECKPOINT_SECONDS:
                self.save()
            self.elapsed += min(time.monotonic() - began, LONGEST_STEP)
        self.save()
        self.say(f"{'stopped' if self.stopping else 'finished'} after {self.step} steps")

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Asked to end: let the step finish, write a checkpoint, leave."""
        self.stopping = True


def main() -> None:
    """Train, or go on training, the model of one work folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=110.0, help="budget of active time")
    parser.add_argument(
        "--polish", action="store_true", help="go on from a finished run, on windows of several sentences"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bfloat16", action="store_true", help="for processors with AVX512 or AMX")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Attention over silence makes numbers so small that processors handle them slowly.
    torch.set_flush_denormal(True)
    Run(options.work, options.minutes, options.seed, options.bfloat16, options.polish).go()


if __name__ == "__main__":
    main()
