"""One model in three formats (checkpoint, CTranslate2, our OpenVINO export) gives the same text in f32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.real.conftest import ModelOf
from tests.real.models import BASE, TINY, RealModel
from tests.real.recordings import speech


@pytest.mark.parametrize("name", [BASE, TINY])
def test_three_formats_of_a_model_give_the_same_text(
    name: str, real: Callable[[str], RealModel], exported: Callable[[str], Path], model_of: ModelOf
) -> None:
    recordings = [recording for recording in speech() if name == BASE or recording.language == "en"]

    def texts(folder: Path) -> list[tuple[str, str]]:
        model = model_of(folder, precision="f32")
        return [
            (recording.name, model.transcribe(recording.path, language=recording.language).text)
            for recording in recordings
        ]

    from_checkpoint = texts(real(name).checkpoint)
    assert all(text for _, text in from_checkpoint)
    assert texts(real(name).ctranslate2) == from_checkpoint
    assert texts(exported(name)) == from_checkpoint
