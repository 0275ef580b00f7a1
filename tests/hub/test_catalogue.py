"""The catalogue is complete and consistent."""

from __future__ import annotations

import re

from antiphon.hub.catalogue import find_model, nearest_names, read_catalogue
from antiphon.languages import NAMES


def test_names_and_aliases_are_unique() -> None:
    names = [name for model in read_catalogue() for name in (model.name, *model.aliases)]
    assert len(names) == len(set(names))
    assert {"whisper-base", "base", "turbo", "large-v3", "speecht5", "kokoro"} <= set(names)


def test_every_model_has_a_hub_repository_and_a_licence() -> None:
    for model in read_catalogue():
        assert all(re.fullmatch(r"[\w.-]+/[\w.-]+", repository) for repository in model.hub), model.name
        assert model.hub
        assert model.licence in ("MIT", "Apache-2.0")
        assert model.size > 0
        assert set(model.languages) <= set(NAMES)


def test_parts_of_packed_files_name_wheels_of_the_model() -> None:
    packed = [model for model in read_catalogue() if model.files]
    assert {model.name for model in packed} == {"whisper-base", "whisper-tiny.en"}
    for model in packed:
        assert {package for file in model.files for package, _ in file.parts} == {
            wheel.package for wheel in model.wheels
        }
        assert all(re.fullmatch(r"[0-9a-f]{64}", item.sha256) for item in (*model.wheels, *model.files))


def test_alias_finds_its_model() -> None:
    model = find_model("turbo")
    assert model is not None
    assert model.name == "whisper-large-v3-turbo"
    assert find_model("openai/whisper-base") is None


def test_unknown_name_suggests_the_nearest() -> None:
    assert nearest_names("whisper-bas")[0] == "whisper-base"
    assert nearest_names("/no/such/folder") == []
