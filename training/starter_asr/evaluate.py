"""Owns the figures: how well an exported folder does with transformers on the held-out set.

It must not know about checkpoints or training. Run:
python -m training.starter_asr.evaluate --work DIR --model FOLDER"""

from __future__ import annotations

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import jiwer
import numpy as np
import torch
from transformers import WhisperForConditionalGeneration, WhisperProcessor

from training.starter_asr.augment import not_speech
from training.starter_asr.dataset import Clips
from training.starter_asr.speech import RATE, VOICES, Order, speak
from training.starter_asr.text import normalise

BATCH = 10
FULL_WINDOWS = 20
SILENT_WINDOWS = 70
TIMESTAMP_SECONDS = 0.02


@dataclass
class Heard:
    """What the model made of some windows."""

    texts: list[str]
    tokens: list[list[int]]


class Listener:
    """An exported model used as anyone with transformers would use it."""

    def __init__(self, folder: Path) -> None:
        self.processor = WhisperProcessor.from_pretrained(folder)
        self.model = WhisperForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
        self.model.eval()

    def features(self, sounds: list[np.ndarray]) -> torch.Tensor:
        """Log-mel of full 30 s windows."""
        made = self.processor(sounds, sampling_rate=RATE, return_tensors="pt")
        return made.input_features

    def hear(self, sounds: list[np.ndarray], timestamps: bool = False) -> Heard:
        """Greedy transcription, with no fallback and no thresholds."""
        heard = Heard([], [])
        for first in range(0, len(sounds), BATCH):
            features = self.features(sounds[first : first + BATCH])
            with torch.inference_mode():
                tokens = self.model.generate(
                    features,
                    language="en",
                    task="transcribe",
                    return_timestamps=timestamps,
                    max_new_tokens=400,
                )
            heard.texts += self.processor.batch_decode(tokens, skip_special_tokens=True)
            heard.tokens += tokens.tolist()
        return heard

    def no_speech(self, sounds: list[np.ndarray]) -> list[float]:
        """Probability of <|nospeech|> right after the start token."""
        wanted = self.processor.tokenizer.convert_tokens_to_ids("<|nospeech|>")
        found: list[float] = []
        for first in range(0, len(sounds), BATCH):
            features = self.features(sounds[first : first + BATCH])
            start = torch.full((len(features), 1), self.model.config.decoder_start_token_id)
            with torch.inference_mode():
                logits = self.model(features, decoder_input_ids=start).logits[:, -1]
            found += logits.softmax(-1)[:, wanted].tolist()
        return found

    def times(self, tokens: list[int]) -> list[float]:
        """The timestamps among `tokens`, in seconds."""
        before = self.model.generation_config.no_timestamps_token_id
        return [(one - before - 1) * TIMESTAMP_SECONDS for one in tokens if one > before]


@dataclass
class Long:
    """A window of several sentences and where they are."""

    sound: np.ndarray
    text: str
    times: list[float]


def long_windows(clips: Clips, numbers: list[int], seed: int) -> list[Long]:
    """Windows of 20 to 30 s out of held-out sentences with pauses between."""
    draw = random.Random(seed)
    made = []
    for _ in range(FULL_WINDOWS):
        seconds = draw.uniform(20, 30)
        place = int(draw.uniform(0, 1) * RATE)
        pieces, texts, times = [np.zeros(place, np.float32)], [], []
        while True:
            number = draw.choice(numbers)
            sound = clips.sound(number)
            if place + len(sound) > seconds * RATE:
                break
            times += [place / RATE, (place + len(sound)) / RATE]
            texts.append(clips.texts[number])
            pause = np.zeros(int(draw.uniform(0.15, 1.2) * RATE), np.float32)
            pieces += [sound, pause]
            place += len(sound) + len(pause)
        made.append(Long(np.concatenate(pieces)[: 30 * RATE], " ".join(texts), times))
    return made


def word_error_rate(spoken: list[str], heard: list[str]) -> float:
    """In per cent, over normalised words."""
    rate = jiwer.wer([normalise(one) for one in spoken], [normalise(one) for one in heard])
    return round(100 * float(rate), 1)


def judge_long(listener: Listener, windows: list[Long]) -> dict[str, float]:
    """Words with and without timestamps, and how far off the timestamps are."""
    sounds, texts = [one.sound for one in windows], [one.text for one in windows]
    timed = listener.hear(sounds, timestamps=True)
    errors: list[float] = []
    for window, tokens in zip(windows, timed.tokens, strict=True):
        found = listener.times(tokens)
        if found:
            errors += [min(abs(one - near) for near in found) for one in window.times]
    return {
        "wer_long": word_error_rate(texts, listener.hear(sounds).texts),
        "wer_long_timestamps": word_error_rate(texts, timed.texts),
        "timestamp_median_error_s": round(float(np.median(errors)), 3) if errors else -1.0,
        "timestamp_90th_percentile_s": round(float(np.quantile(errors, 0.9)), 3) if errors else -1.0,
    }


def judge_silence(listener: Listener, speech: list[np.ndarray], seed: int) -> dict[str, float]:
    """Whether nothing is heard in silence and noise, and something in speech."""
    noise = np.random.default_rng(seed)
    sounds = [not_speech(30 * RATE, noise) for _ in range(SILENT_WINDOWS)]
    share = {}
    for name, timestamps in (("empty", False), ("empty_timestamps", True)):
        texts = listener.hear(sounds, timestamps).texts
        share[name] = round(sum(not text.strip() for text in texts) / len(texts), 3)
    silent, spoken = listener.no_speech(sounds), listener.no_speech(speech)
    share["silence_no_speech_over_0.6"] = round(float(np.mean(np.array(silent) > 0.6)), 3)
    share["speech_no_speech_over_0.6"] = round(float(np.mean(np.array(spoken) > 0.6)), 3)
    return share


def judge(listener: Listener, work: Path, most: int, seed: int) -> dict[str, float]:
    """All figures."""
    clips = Clips(work, "heldout")
    text = json.loads((work / "text.json").read_text(encoding="utf-8"))
    everyday = [n for n, one in enumerate(clips.texts) if one in set(text["heldout_everyday"])]
    fortunes = [n for n in range(len(clips)) if n not in set(everyday)]
    figures: dict[str, float] = {}
    for name, numbers in (("everyday", everyday), ("fortunes", fortunes[:: len(fortunes) // most])):
        texts = [clips.texts[n] for n in numbers]
        sounds = [clips.sound(n) for n in numbers]
        heard = listener.hear(sounds).texts
        figures[f"wer_{name}"] = word_error_rate(texts, heard)
        if name == "everyday":
            for pair in zip(texts, heard, strict=True):
                print(f"{pair[0]}\n  -> {pair[1].strip()}")
            figures["sentences_right_everyday"] = sum(
                normalise(spoken) == normalise(said) for spoken, said in zip(texts, heard, strict=True)
            )
            timed = listener.hear(sounds, timestamps=True).texts
            figures["wer_everyday_timestamps"] = word_error_rate(texts, timed)
    others = sorted(set(VOICES) - {"en-us"})
    texts = [clips.texts[n] for n in everyday]
    orders = [Order(one, others[n % len(others)]) for n, one in enumerate(texts)]
    sounds = [speak(order).astype(np.float32) / 32768 for order in orders]
    figures["wer_everyday_other_voices"] = word_error_rate(texts, listener.hear(sounds).texts)
    figures |= judge_long(listener, long_windows(clips, fortunes, seed))
    return figures | judge_silence(listener, sounds, seed)


def main() -> None:
    """Print a table of the figures, and the same as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--fortunes", type=int, default=300, help="how many held-out fortunes")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    figures = judge(Listener(options.model), options.work, options.fortunes, options.seed)
    for name, value in figures.items():
        print(f"{name:32} {value}")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
