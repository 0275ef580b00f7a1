"""The times of words against openai-whisper's `timing.py`: attention, warping, words and the rules about pauses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import WhisperForConditionalGeneration
from whisper import timing
from whisper.tokenizer import get_tokenizer

from antiphon.genai.pipeline import load
from antiphon.models.folder import inspect
from antiphon.models.whisper.alignment import smoothed, warp
from antiphon.models.whisper.config import read_config
from antiphon.models.whisper.tokens import read_tokenizer
from antiphon.models.whisper.word_times import Timing, settle, split_words, time_words
from antiphon.types.audio import Samples
from antiphon.types.results import Piece
from tests.oracle.ir_folders import STARTER, export_starter
from tests.oracle.openai_reference import openai_model
from tests.oracle.reference import Comparison, open_session, oracle_log_mel
from tests.oracle.shapes import ENGLISH, ODD, PLAIN, UNEVEN
from tests.oracle.signals import chirps
from tests.support.drive_session import drive, make_unit
from tests.support.espeak_voice import Voice
from tests.support.whisper_checkpoint import Shape

pytestmark = pytest.mark.oracle

PLACE = 0.02  # seconds


def random_text(comparison: Comparison, count: int, seed: int) -> list[int]:
    """Tokens of whole words, parts of words and marks; half characters are another test's."""
    random = np.random.default_rng(seed)
    found: list[int] = []
    while len(found) < count:
        token = int(random.integers(0, 50_000))
        text = comparison.tokenizer.decode([token])
        if text.isascii() and text.isprintable() and text.strip():
            found.append(token)
    return found


def ours(comparison: Comparison, samples: Samples, text: list[int], language: str | None) -> list[Timing]:
    """Word times of a text that is taken for the transcript, from our graph and DTW, before any rule about pauses."""
    session = comparison.session
    session.join([make_unit(samples, language=language, max_new_tokens=40, min_new_tokens=40)])
    timings = session._time_tokens(0, text)
    session.leave(session._flight[0].unit)
    return time_words([split_words(text, comparison.tokenizer.decode, spaces=True)], timings)[0]


def theirs(comparison: Comparison, samples: Samples, text: list[int], language: str | None) -> list[Any]:
    model = openai_model(comparison.model, comparison.config.alignment.chosen)
    tokenizer = get_tokenizer(
        comparison.config.multilingual,
        num_languages=len(comparison.config.tokens.languages) or 99,
        language=language,
        task="transcribe",
    )
    return timing.find_alignment(model, tokenizer, text, comparison.features(samples)[0], len(samples) // 160)


@pytest.mark.parametrize("shape", [PLAIN, ODD, UNEVEN, ENGLISH], ids=lambda shape: shape.name)
@pytest.mark.parametrize(
    ("seconds", "count"), [(0.1, 3), (0.5, 1), (2.0, 12), (7.3, 60), (30.0, 5), (30.0, 200)], ids=str
)
def test_word_timestamps_match_the_reference(
    shape: Shape, seconds: float, count: int, comparison_of: Callable[[Shape], Comparison]
) -> None:
    comparison = comparison_of(shape)
    language = "en" if comparison.config.multilingual else None
    samples, text = chirps(seconds, seed=count), random_text(comparison, count, seed=count)
    found, expected = ours(comparison, samples, text, language), theirs(comparison, samples, text, language)
    assert [word.text for word in found] == [word.word for word in expected]
    for word, other in zip(found, expected, strict=True):
        assert word.probability == pytest.approx(other.probability, abs=1e-3)
    # Sums of float32 in another order may turn a path where two are equally cheap.
    moved = [abs(a.start - b.start) for a, b in zip(found, expected, strict=True)]
    moved += [abs(a.end - b.end) for a, b in zip(found, expected, strict=True)]
    assert max(moved) <= PLACE + 1e-6, sorted(moved)[-5:]


def test_random_words_differ(comparison_of: Callable[[Shape], Comparison]) -> None:
    comparison = comparison_of(PLAIN)
    found = ours(comparison, chirps(7.3, seed=60), random_text(comparison, 60, seed=60), "en")
    assert len({word.start for word in found}) > 10


def test_longest_answer_fits(comparison_of: Callable[[Shape], Comparison]) -> None:
    comparison = comparison_of(PLAIN)
    text = random_text(comparison, 444, seed=1)  # with the prefix all of the 448 positions
    found = ours(comparison, chirps(30), text, "en")
    assert "".join(word.text for word in found) == comparison.tokenizer.decode(text)


def test_word_timestamps_do_not_depend_on_the_batch(comparison_of: Callable[[Shape], Comparison]) -> None:
    """CTranslate2's batched alignment takes its neighbours' padding into the mean (`whisper.cc` 552)."""
    session = comparison_of(PLAIN).session
    units = [
        make_unit(chirps(seconds, seed=index), words=True, language="en", timestamps=timed, max_new_tokens=limit)
        for index, (seconds, timed, limit) in enumerate(
            [(0.3, False, 4), (30, True, 40), (3, False, 70), (12, True, 12), (0.05, False, 9), (30, False, 40)]
        )
    ]
    alone = [drive(session, [unit])[0].pieces for unit in units]
    for joins in ([0] * 6, [5, 0, 0, 3, 9, 1]):
        assert [result.pieces for result in drive(session, units, joins)] == alone
    assert len({word.start for pieces in alone for piece in pieces for word in piece.words}) > 6


@pytest.fixture(scope="module")
def speech() -> list[Samples]:
    """Two sentences and a pause, spoken; and one of them."""
    voice = Voice()
    first, second = (voice.speak(text) for text in ("The train leaves at nine in the morning.", "I like apples."))
    return [first, np.concatenate([first, np.zeros(9_000, np.float32), second])]


def test_word_timestamps_of_speech_match_the_reference(speech: list[Samples]) -> None:
    """The starter, whose vocabulary openai-whisper does not know: it is handed ours."""
    session, config = open_session(STARTER), read_config(STARTER)
    tokenizer = read_tokenizer(STARTER, config)
    model = openai_model(WhisperForConditionalGeneration.from_pretrained(STARTER).float(), config.alignment.chosen)
    prefix, _ = tokenizer.prefix("en", "transcribe", None, timestamps=False)
    for samples in speech:
        (result,) = drive(session, [make_unit(samples, language="en", words=True)])
        text = [token for piece in result.pieces for token in piece.tokens]
        words = split_words(text, tokenizer.decode, spaces=True)
        cuts = np.split(np.array(text), np.cumsum([count for _, count in words])[:-1])
        stand_in = SimpleNamespace(
            sot_sequence=prefix[:-1],
            no_timestamps=prefix[-1],
            eot=config.tokens.end,
            split_to_word_tokens=lambda _tokens, words=words, cuts=cuts: (
                [*(word for word, _ in words), ""],
                [*(cut.tolist() for cut in cuts), [config.tokens.end]],
            ),
        )
        features = torch.from_numpy(oracle_log_mel(samples, config.mels))[0]
        expected = timing.find_alignment(model, stand_in, text, features, len(samples) // 160)
        begins = dict(zip([word for word, _ in words], [other.start for other in expected], strict=True))
        found = [word for piece in result.pieces for word in piece.words]
        assert len(found) > 3
        # Marks went to their words, and long words were cut at pauses: the beginnings of the others are as they were.
        same = [abs(word.start - begins[word.text]) <= PLACE for word in found[1:] if word.text in begins]
        assert sum(same) >= 0.8 * len(same)
        assert len(same) > 3


def test_genai_word_timestamps_match_the_native_engine(
    speech: list[Samples], tmp_path_factory: pytest.TempPathFactory
) -> None:
    native = open_session(STARTER, weight_format="fp32")
    folder = export_starter(tmp_path_factory.mktemp("words") / "starter")
    session = load(inspect(folder), name="starter", device="CPU", reason="a test", word_timestamps=True)
    plain = load(inspect(folder), name="starter", device="CPU", reason="a test")
    assert session.info.no_word_times_reason == ""
    assert plain.info.no_word_times_reason == (
        "the server must be started, or the model exported, with enable_word_timestamps"
    )
    for samples in speech:
        for timestamps in (False, True):
            unit = make_unit(samples, language="en", timestamps=timestamps, words=True)
            (ours,), (theirs,) = drive(native, [unit]), drive(session, [unit])
            (without,) = drive(plain, [make_unit(samples, language="en", timestamps=timestamps)])
            assert [piece.text for piece in theirs.pieces] == [piece.text for piece in without.pieces]
            assert theirs.resume == without.resume
            for piece in theirs.pieces:
                assert "".join(word.text for word in piece.words) == piece.text
            if [piece.text for piece in ours.pieces] != [piece.text for piece in theirs.pieces]:
                continue  # its features are rounded otherwise, and this model is easily turned
            pairs = zip(
                (word for piece in ours.pieces for word in piece.words),
                (word for piece in theirs.pieces for word in piece.words),
                strict=True,
            )
            apart = [abs(a.start - b.start) for a, b in pairs]
            assert np.median(apart) <= 0.06


def matrices() -> Iterator[np.ndarray]:
    random = np.random.default_rng(0)
    for _ in range(100):
        shape = random.integers(1, 25), random.integers(1, 60)
        yield random.standard_normal(shape).astype(np.float32)
        yield random.standard_normal(shape)
        yield random.integers(0, 3, shape).astype(np.float64)  # ties everywhere
        yield np.zeros(shape)


def test_dtw_path_matches_the_reference() -> None:
    for costs in matrices():
        for found, expected in zip(warp(costs), timing.dtw_cpu(costs.astype(np.float64)), strict=True):
            assert np.array_equal(found, expected), costs


@pytest.mark.parametrize("width", [1, 2, 3, 4, 5, 7, 8, 300])
def test_median_filter_matches_the_reference(width: int) -> None:
    rows = np.random.default_rng(width).standard_normal((5, width)).astype(np.float32)
    assert np.array_equal(smoothed(rows), timing.median_filter(torch.from_numpy(rows), 7).numpy())


class Script:
    """Words scripted in place of an alignment, as both sides take them; a token a word."""

    def __init__(self, *segments: tuple[float, float, list[tuple[str, float, float]]]) -> None:
        self.segments = segments

    def expected(self, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
        """openai-whisper's segments."""
        words = [word for _, _, timed in self.segments for word in timed]
        scripted = [timing.WordTiming(text, [index], start, end, 0.5) for index, (text, start, end) in enumerate(words)]
        monkeypatch.setattr(timing, "find_alignment", lambda *_args, **_kwargs: scripted)
        tokens = iter(range(len(words)))
        segments = [
            {"seek": 0, "start": start, "end": end, "tokens": [next(tokens) for _ in timed]}
            for start, end, timed in self.segments
        ]
        timing.add_word_timestamps(
            segments=segments,
            model=None,
            tokenizer=get_tokenizer(True),
            mel=None,
            num_frames=3000,
            last_speech_timestamp=0.0,
        )
        return segments

    def ours(self) -> tuple[Piece, ...]:
        pieces = [Piece(start, end, "".join(text for text, *_ in timed), ()) for start, end, timed in self.segments]
        timings = [[Timing(text, start, end, 0.5) for text, start, end in timed] for _, _, timed in self.segments]
        return settle(pieces, timings, 30.0)


STEADY = [(" w", 0.2 * i, 0.2 * i + 0.2) for i in range(20)]


def shifted(words: list[tuple[str, float, float]], by: float) -> list[tuple[str, float, float]]:
    return [(text, start + by, end + by) for text, start, end in words]


SCRIPTS = {
    "steady": Script((0.0, 4.0, STEADY)),
    "a long first word": Script((3.0, 8.0, [(" long", 0.0, 4.0), *shifted(STEADY, 4.0)])),
    "a long first word that begins with its segment": Script((0.0, 8.0, [(" long", 0.0, 4.0), *shifted(STEADY, 4.0)])),
    "two long first words": Script((3.0, 9.0, [(" long", 0.0, 3.0), (" er", 3.0, 5.0), *shifted(STEADY, 5.0)])),
    "a mark, then a long word": Script((0.0, 9.0, [*STEADY, (".", 4.0, 4.1), (" then", 4.1, 8.0)])),
    "a long mark": Script((0.0, 9.0, [*STEADY, ("?", 4.0, 7.0), (" then", 7.0, 7.3)])),
    "a last word over its segment's end": Script((0.0, 4.0, [*STEADY, (" end", 4.0, 9.0)])),
    "a last word far over its segment's end": Script((0.0, 4.3, [*STEADY, (" end", 4.1, 29.0)])),
    "an empty segment between two": Script((0.0, 4.0, STEADY), (4.0, 5.0, []), (5.0, 9.0, shifted(STEADY, 5.0))),
    "a pause between segments": Script((0.0, 4.0, STEADY), (9.0, 13.0, [(" late", 4.0, 9.3), *shifted(STEADY, 9.3)])),
    "marks": Script(
        (0.0, 4.0, [(' "', 0.0, 0.1), ("Hi", 0.1, 0.4), ("!", 0.4, 0.5), ('"', 0.5, 0.6), (" (", 0.6, 0.7)])
    ),
    "marks alone": Script((0.0, 1.0, [(" -", 0.0, 0.3), ("...", 0.3, 0.6), ("?", 0.6, 0.9)])),
    "words of no length": Script((0.0, 1.0, [(" a", 0.2, 0.2), (" b", 0.2, 0.2), (" c", 0.2, 0.2)])),
    "one long word": Script((0.0, 29.0, [(" Ah", 0.0, 28.0)])),
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_pauses_in_word_timestamps_match_the_reference(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script = SCRIPTS[name]
    for piece, segment in zip(script.ours(), script.expected(monkeypatch), strict=True):
        assert [word.text for word in piece.words] == [word["word"] for word in segment["words"]]
        for word, other in zip(piece.words, segment["words"], strict=True):
            assert (word.start, word.end) == pytest.approx((other["start"], other["end"]), abs=0.006)


def scripts() -> Iterator[Script]:
    """Up to three segments each, of words and marks as long as may be, with times of their own that fit badly."""
    random = np.random.default_rng(5)
    for _ in range(300):
        segments, now = [], 0.0
        for _ in range(int(random.integers(1, 4))):
            words: list[tuple[str, float, float]] = []
            start = now + float(random.choice([0.0, 0.3, 1.0]))
            count = int(random.integers(0, 9))
            for place in range(count):
                length = float(random.choice([0.0, 0.1, 0.2, 0.3, 0.4, 1.5, 4.0]))
                # A mark at a segment's border goes over it there, and stays in its own text here.
                inside = 0 < place < count - 1
                text = str(
                    random.choice([" one", " two", *(["three", ".", "?", ",", ' "', " (", '"'] if inside else [])])
                )
                words.append((text, round(now, 2), round(now + length, 2)))
                now += length
            segments.append((round(start, 2), round(now + float(random.choice([-0.8, 0.0, 0.8])), 2), words))
        if now < 29:
            yield Script(*segments)


def test_random_word_timestamps_settle_as_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = 0
    for script in scripts():
        before = 0.0
        for piece, segment in zip(script.ours(), script.expected(monkeypatch), strict=True):
            assert [word.text for word in piece.words] == [word["word"] for word in segment["words"]]
            for word, other in zip(piece.words, segment["words"], strict=True):
                # The reference lets words run into one another and out of order; here each waits for the one before.
                begin = max(other["start"], before)
                before = max(other["end"], begin)
                assert (word.start, word.end) == pytest.approx((begin, before), abs=0.011)
                compared += 1
    assert compared > 1000
