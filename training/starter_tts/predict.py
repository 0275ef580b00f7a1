"""Owns the frames the acoustic model makes of clips it was trained on: what the vocoder will hear in use.

It must not know what they are for. Run: python -m training.starter_tts.predict --work DIR"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from training.starter_tts.dataset import Clips, all_sounds, batch_of
from training.starter_tts.export import load_learner
from training.starter_tts.model import Learner, fed
from training.starter_tts.speech import LANGUAGES, SUFFIXES
from training.starter_tts.vocoder import PREDICTED

CLIPS = 2000
TOGETHER = 32


@torch.inference_mode()
def predict(learner: Learner, clips: Clips, count: int) -> np.ndarray:
    """The frames of the first `count` clips as they were spoken, one behind the other: half from the truth, half from
    what the model itself makes when fed the truth, so that they keep the time."""
    made: dict[int, np.ndarray] = {}
    places = [place for place, number in enumerate(clips.order) if number < count]
    for first in range(0, len(places), TOGETHER):
        group = places[first : first + TOGETHER]
        batch = batch_of([clips.utterance(place) for place in group])
        hidden = learner.encode(batch)
        given = fed(batch.frames)
        if first // TOGETHER % 2:
            given = fed(learner.frames_of(learner.decode(given, hidden, batch)[0]))
        frames = learner.tts.speech_decoder_postnet.postnet(learner.frames_of(learner.decode(given, hidden, batch)[0]))
        for row, place in enumerate(group):
            length = clips.steps(place) * (batch.frames.shape[1] // batch.steps.shape[1])
            made[clips.order[place]] = frames[row, :length].numpy().astype(np.float16)
    return np.concatenate([made[number] for number in range(count)])


def main() -> None:
    """Write the frames beside the true ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clips", type=int, default=CLIPS, help="of each language")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    learner, codec, _ = load_learner(options.work)
    names = all_sounds(options.work)
    for language in LANGUAGES:
        clips = Clips(options.work, "train", language, codec, names)
        frames = predict(learner, clips, min(options.clips, len(clips)))
        far = np.abs(frames.astype(np.float32) - clips.mels[: len(frames)].astype(np.float32)).mean()
        np.save(options.work / f"{PREDICTED}{SUFFIXES[language]}.mel.npy", frames)
        print(f"{language}: {len(frames)} frames, {far:.3f} from the truth", flush=True)


if __name__ == "__main__":
    main()
