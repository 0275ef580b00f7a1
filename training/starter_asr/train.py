"""Owns the training of the recogniser: the phases, the losses, the looks at what it can do.

It must not know how windows are made or models are exported.
Run (and rerun to resume): PYTHONPATH=src python -m training.starter_asr.train --work DIR --minutes 110"""

from __future__ import annotations

from pathlib import Path

import jiwer
import torch
from torch.nn import functional

from training.run import Span, options_for, prepare
from training.starter_asr.codec import CHARACTERS, Codec, train_tokenizer
from training.starter_asr.dataset import IGNORED, RATE, Batch, Clips, Windows
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
GUIDED_UNTIL = 0.8
AIM_WEIGHT = 0.3
# Most of a timestamp's loss says nothing about words.
TIMESTAMP_WEIGHT = 0.3
# What is learnt on short windows holds in padded ones of 30 s, at a third of the price.
KINDS = ("single", "several", "single", "several", "single", "full")
# A polish, until which share of it: the kinds of its windows in turn, and their languages, in turn too. A language it
# adds is learnt on short windows first, and more often than the one that is known; then windows of several sentences
# come more than any, and the known language, which gave way meanwhile, gets its half back.
POLISH_PHASES = (
    (0.5, ("single", "several", "single", "single", "several", "single"), (("en", "es", "es"),)),
    (0.75, ("several", "single", "several", "full", "single", "several"), (("en", "es"), ("en", "en", "es"))),
    (1.0, ("single", "several", "single", "full", "several", "single"), (("en", "es"),)),
)
# Seconds of sound in one batch of each phase, in each process.
WORK_A = 40.0
WORK_B = 45.0
WORK_C = 60.0
PEAK_RATE = 1.2e-3
# Going on from a finished run: what is known must not be shaken out again.
POLISH_RATE = 1e-3
WARM_UP_STEPS = 200
# A polish begins with an untaught head for the letters, from which the encoder should not learn.
HEAD_STEPS = 150
# Sentences of each kind, and the longest window (s) they are looked at in.
LOOKED_AT = 24
LOOKED_SECONDS = 10


class Training(Span):
    """The run of the recogniser, from nothing."""

    name = "asr"

    def __init__(self, work: Path, minutes: float, seed: int) -> None:
        clips = Clips(work, "train")
        self.heldout = Clips(work, "heldout")
        self.codec = find_codec(work, clips)
        self.windows = Windows(clips, self.codec, seed)
        self.learner = Learner(self.codec)
        self.mel = LogMel()
        self.token_weights = torch.ones(self.learner.whisper.config.vocab_size)
        self.token_weights[self.codec.first_timestamp :] = TIMESTAMP_WEIGHT
        super().__init__(work, minutes, self.learner, self.peak_rate, self.windows.draw)

    peak_rate = PEAK_RATE

    def next_batch(self) -> Batch:
        """What the phase calls for."""
        if self.progress < PHASE_A_END:
            # The decoder finds the encoder on short clips, but the short half alone is soon known by heart.
            if self.step % 6 or self.progress < PHASE_A_END / 4:
                return self.windows.single(WORK_A, min(1.0, 0.4 + 3 * self.progress / PHASE_A_END))
            return self.windows.several(WORK_B)
        return self.batch_of(KINDS)

    def batch_of(self, kinds: tuple[str, ...]) -> Batch:
        """The kinds in turn."""
        match kinds[self.step % len(kinds)]:
            case "single":
                return self.windows.single(WORK_A, 1.0)
            case "several":
                return self.windows.several(WORK_B)
            case _:
                return self.windows.full(WORK_C)

    def easy(self) -> bool:
        """Whether the complications wait."""
        return self.progress < HARD_FROM

    def losses(self, batch: Batch, smoothing: float, guided: bool) -> dict[str, torch.Tensor]:
        """Cross entropy of the decoder, CTC of the encoder, and what guides attention, if asked."""
        losses: dict[str, torch.Tensor] = {}
        hidden = self.learner.encode(self.mel(batch.sound), batch.offset)
        if guided:
            logits, losses["aim"] = self.learner.decode_aiming(batch.tokens, hidden, batch.aims)
        else:
            logits = self.learner.decode(batch.tokens, hidden)
        losses["ce"] = functional.cross_entropy(
            logits.flatten(0, 1),
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

    def train_step(self) -> str:
        """One batch."""
        self.windows.easy = self.easy()
        self.windows.begin(self.step)
        batch = self.next_batch()
        losses = self.losses(batch, 0.05 if self.progress < SHARP_FROM else 0.0, self.progress < GUIDED_UNTIL)
        weights = {"ce": 1.0, "ctc": 1.0 if self.progress < CTC_FALLS else 0.3, "aim": AIM_WEIGHT}
        total = torch.stack([weights[name] * value for name, value in losses.items()]).sum()
        rate = self.update(total, WARM_UP_STEPS)
        shape = "x".join(map(str, batch.sound.shape))
        values = " ".join(f"{name} {value.item():.3f}" for name, value in losses.items())
        return f"{values} lr {rate:.5f} {shape}"

    def look(self) -> None:
        """Greedy word errors on some held-out sentences of each kind, and how often the language is heard."""
        self.learner.eval()
        for kind in sorted(self.heldout.pools):
            if kind != ("en", "translate"):
                numbers = self.heldout.pools[kind]
                self.judge(kind, numbers[:: max(1, len(numbers) // LOOKED_AT)][:LOOKED_AT])
        self.learner.train()

    def judge(self, kind: tuple[str, str], numbers: list[int]) -> None:
        """Words wrong, sentences right and languages heard, of one kind."""
        codec, language = self.codec, self.codec.languages[kind[0]]
        prompt = [codec.start, language, codec.tasks[kind[1]], codec.no_timestamps]
        wanted = [self.heldout.meanings[one] if kind[1] == "translate" else self.heldout.texts[one] for one in numbers]
        sound = torch.zeros(len(numbers), LOOKED_SECONDS * RATE)
        for row, number in enumerate(numbers):
            clip = torch.from_numpy(self.heldout.sound(number))
            sound[row, : len(clip)] = clip
        with torch.inference_mode():
            hidden = self.learner.encode(self.mel(sound))
            said = [codec.decode(tokens) for tokens in greedy(self.learner, hidden, prompt, codec.end)]
            after_start = self.learner.decode(torch.full((len(numbers), 1), codec.start), hidden)[:, 0]
        heard = int((after_start.argmax(-1) == language).sum())
        pairs = [(normalise(one), normalise(other)) for one, other in zip(wanted, said, strict=True)]
        wrong = jiwer.wer([one for one, _ in pairs], [other for _, other in pairs])
        right = sum(one == other for one, other in pairs)
        self.say(f"held out {'-'.join(kind)}: WER {100 * wrong:.1f} %, right {right}, language {heard} of {len(pairs)}")
        for one, other in pairs[::8]:
            self.say(f"  {one!r} -> {other!r}")


class Polish(Training):
    """A run that goes on from a finished one, at last mostly on windows of several sentences."""

    name = "polish"
    origin = "asr"
    peak_rate = POLISH_RATE
    look_seconds = 840.0

    def next_batch(self) -> Batch:
        """What the phase calls for."""
        _, kinds, languages = next(phase for phase in POLISH_PHASES if self.progress <= phase[0])
        self.windows.languages = languages[self.step % len(languages)]
        return self.batch_of(kinds)

    def easy(self) -> bool:
        """While a language is new."""
        return self.progress < POLISH_PHASES[0][0]

    def character_loss(self, hidden: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The same, once the head has been taught."""
        return super().character_loss(hidden.detach() if self.step < HEAD_STEPS else hidden, batch)


def find_codec(work: Path, clips: Clips) -> Codec:
    """The tokenizer of a work folder, trained on first use."""
    path = work / "bpe.json"
    if not path.exists():
        Codec(train_tokenizer(clips.texts)).save(path)
    return Codec.load(path)


def main() -> None:
    """Train, or go on training, the model of one work folder."""
    parser = options_for(__doc__, 110.0)
    parser.add_argument(
        "--polish", action="store_true", help="go on from a finished run, on windows of several sentences"
    )
    options = parser.parse_args()
    seed = prepare(options, "training.starter_asr.train")
    (Polish if options.polish else Training)(options.work, options.minutes, seed).go()


if __name__ == "__main__":
    main()
