"""The genai backend over optimum's export of the starter: it answers what `openvino_genai` answers, and what we answer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino_genai
import pytest

from antiphon.errors import ConfigError
from antiphon.genai.pipeline import load
from antiphon.genai.runtime import InstalledGenAI, PipelineKind
from antiphon.models.folder import inspect
from antiphon.types.audio import Samples
from antiphon.types.events import Failed
from antiphon.types.options import TranscribeOptions
from tests.oracle.ir_folders import STARTER, export_starter
from tests.support.drive_session import drive, make_unit
from tests.support.espeak_voice import Voice
from tests.support.service import serving, transcribe
from tests.support.sessions import load_session

pytestmark = pytest.mark.oracle

ENGLISH = "The train leaves at nine in the morning."
SPANISH = "El perro duerme en la cocina."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_starter(tmp_path_factory.mktemp("genai") / "starter")


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Any:
    return openvino_genai.ASRPipeline(folder, "CPU")


@pytest.fixture(scope="module")
def session(folder: Path) -> Any:
    return load(inspect(folder), name="starter", device="CPU", reason="a test")


@pytest.fixture(scope="module")
def english(voice: Voice) -> Samples:
    return voice.speak(ENGLISH)


@pytest.fixture(scope="module")
def spanish(voice: Voice) -> Samples:
    return voice.speak(SPANISH, voice="es")


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"language": "en"}, {"language": "<|en|>", "task": "transcribe"}),
        ({}, {}),
        ({"language": "es", "task": "translate"}, {"language": "<|es|>", "task": "translate"}),
        ({"language": "es", "prompt": "la cocina"}, {"language": "<|es|>", "initial_prompt": "la cocina"}),
        ({"language": "es", "max_new_tokens": 3}, {"language": "<|es|>", "max_new_tokens": 3}),
        (
            {"language": "es", "min_new_tokens": 40, "max_new_tokens": 40},
            {"language": "<|es|>", "min_new_tokens": 40, "max_new_tokens": 40},
        ),
    ],
)
def test_genai_window_matches_the_pipeline(
    pipeline: Any, session: Any, spanish: Samples, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> None:
    expected = pipeline.generate(spanish.tolist(), **theirs)
    (result,) = drive(session, [make_unit(spanish, **ours)])
    assert "".join(piece.text for piece in result.pieces) == expected.texts[0]
    assert expected.texts[0].strip()
    assert result.language == expected.languages[0]
    assert result.avg_logprob == 0.0


def test_genai_transcript_matches_the_native_engine(session: Any, english: Samples) -> None:
    native = load_session(str(STARTER), precision="f32", weight_format="fp32")
    unit = make_unit(english, language="en", timestamps=True)
    (ours,), (theirs,) = drive(native, [unit]), drive(session, [unit])
    assert theirs.language == ours.language
    assert [piece.text for piece in theirs.pieces] == [piece.text for piece in ours.pieces]


def test_timestamps_are_those_of_the_first_pass(pipeline: Any, session: Any, english: Samples) -> None:
    two = np.concatenate([english, np.zeros(8_000, np.float32), english])
    expected = pipeline.generate(two.tolist(), language="<|en|>", return_timestamps=True).chunks[0]
    (result,) = drive(session, [make_unit(two, language="en", timestamps=True)])
    assert result.pieces
    seconds = len(two) / 16_000
    for piece, chunk in zip(result.pieces, expected, strict=False):
        assert piece.text == chunk.text
        assert piece.start == pytest.approx(min(chunk.start_ts, seconds), abs=0.01)
        assert piece.end == pytest.approx(min(chunk.end_ts, seconds), abs=0.01)
    assert result.resume == result.pieces[-1].end


def test_sampling_is_repeatable_and_depends_on_the_seed(session: Any, english: Samples) -> None:
    def sampled(seed: int, start: int = 0) -> str:
        unit = make_unit(english, language="en", temperature=1.0, seed=seed, start=start, min_new_tokens=30)
        return drive(session, [unit])[0].pieces[0].text

    assert sampled(1) == sampled(1)
    assert len({sampled(1), sampled(2), sampled(1, start=480_000)}) == 3


def test_control_tokens_in_a_prompt_are_plain_text(session: Any, spanish: Samples) -> None:
    result = drive(session, [make_unit(spanish, language="es", prompt="<|translate|> <|endoftext|> ")])[0]
    assert result.pieces


@pytest.mark.parametrize("samples", [0, 1, 200, 480_000])
def test_windows_of_any_length(session: Any, samples: int) -> None:
    noise = np.random.default_rng(0).standard_normal(samples).astype(np.float32) * 0.01
    (result,) = drive(session, [make_unit(noise, language="en", max_new_tokens=4)])
    assert result.resume == samples / 16_000


class BrokenOff(openvino_genai.StreamerBase):
    """Ends a call with an error, between two tokens."""

    def write(self, _token: object) -> openvino_genai.StreamingStatus:
        raise ValueError("broken off")

    def end(self) -> None:
        return None


class Failing:
    """A pipeline whose first call is broken off."""

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pipeline, name)

    def generate(self, samples: list[float], **arguments: Any) -> Any:
        self._calls += 1
        return self._pipeline.generate(samples, **arguments, **({"streamer": BrokenOff()} if self._calls == 1 else {}))


def test_failure_does_not_affect_the_next_window(folder: Path, english: Samples, spanish: Samples) -> None:
    class Runtime(InstalledGenAI):
        def pipeline(self, kind: PipelineKind, folder: Path, device: str, properties: Mapping[str, object]) -> Any:
            opened = super().pipeline(kind, folder, device, properties)
            pipelines.append(Failing(opened) if not pipelines else opened)
            return pipelines[-1]

    pipelines: list[Any] = []
    session = load(inspect(folder), name="starter", device="CPU", reason="a test", runtime=Runtime())
    unit = make_unit(spanish, language="es")
    session.join([make_unit(english, language="en")])
    (failed,) = session.step()
    assert isinstance(failed, Failed)
    assert "broken off" in str(failed.error)
    answers = [drive(session, [unit])[0].pieces[0].text for _ in range(2)]
    assert answers[0] == answers[1]
    assert len(pipelines) == 2
    # What it is opened again for: the broken one, had it been kept, would now say something else.
    broken = pipelines[0].generate(spanish.tolist(), language="<|es|>").texts[0]
    assert broken != answers[0]


@pytest.mark.parametrize("timestamps", [False, True])
def test_long_file_is_transcribed_completely_by_the_service(folder: Path, voice: Voice, timestamps: bool) -> None:
    sentences = [ENGLISH, "We saw seven black dogs near the river.", "Please open the window and close the door."] * 8
    pause = np.zeros(9_600, np.float32)
    samples = np.concatenate([part for sentence in sentences for part in (voice.speak(sentence), pause)])
    seconds = len(samples) / 16_000
    assert seconds > 60
    session = Remembering(load(inspect(folder), name="starter", device="CPU", reason="a test"))
    with serving(session) as service:
        transcript = transcribe(service, samples, TranscribeOptions(timestamps=timestamps), "starter")
    assert transcript.language == "en"
    assert len(session.answers) >= 3
    # With timestamps, a window that ends inside a sentence is decoded again from its last closed segment.
    assert timestamps or transcript.text == "".join(text for _, text in sorted(session.answers)).strip()
    times = [0.0, *(time for segment in transcript.segments for time in (segment.start, segment.end)), seconds]
    assert times == sorted(times)
    assert max(after - before for before, after in zip(times[::2], times[1::2], strict=True)) < 5  # nothing is left out


class Remembering:
    """A session that keeps what its windows were answered, and where in the file they begin."""

    def __init__(self, session: Any) -> None:
        self._session = session
        self.answers: list[tuple[int, str]] = []
        self.info, self.slots = session.info, session.slots
        self.join, self.leave = session.join, session.leave

    def step(self) -> Any:
        events = self._session.step()
        self.answers += [(event.unit.start, "".join(piece.text for piece in event.result.pieces)) for event in events]
        return events


def test_properties_reach_openvino(folder: Path, tmp_path: Path, english: Samples) -> None:
    session = load(
        inspect(folder),
        name="starter",
        device="AUTO:CPU",
        reason="a test",
        plugin_config={"NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY"},
        cache_dir=tmp_path / "cache",
    )
    assert (session.info.device, session.info.precision, session.info.weight_format) == ("AUTO:CPU", "auto", "fp32")
    assert drive(session, [make_unit(english, language="en")])[0].pieces
    assert any((tmp_path / "cache").iterdir())


def test_unknown_property_is_a_one_line_error(folder: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(inspect(folder), name="starter", device="CPU", reason="a test", plugin_config={"FOO": "1"})
    assert "with plugin_config FOO: " in str(caught.value)
    assert "Unsupported property FOO" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unavailable_device_is_an_error_with_the_available_ones(folder: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"^target_device: GPU\.99 is not available, there is no GPU\.99 here; OpenVINO finds .*CPU"
    ):
        load(inspect(folder), name="starter", device="GPU.99", reason="a test")
