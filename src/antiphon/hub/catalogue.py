"""The catalogue of models that can be pulled by name: what each is good for, and where it comes from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from antiphon.types.options import GraphTask


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel of the package index that carries model data. `size` is in bytes."""

    package: str
    version: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file of a model that wheels carry. `parts` are (package, member) pairs whose contents make it, in order."""

    name: str
    size: int
    sha256: str
    parts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class CatalogueModel:
    """A model of the catalogue. `languages` is empty for a multilingual one; `size` is megabytes to download.

    `hub` are repositories of the Hugging Face hub, tried in order; `vocoder` is the repository of the vocoder that a
    SpeechT5 checkpoint needs. `wheels` and `files` are there for models that the package index carries too.
    """

    name: str
    aliases: tuple[str, ...]
    task: GraphTask
    languages: tuple[str, ...]
    size: int
    licence: str
    good_for: str
    hub: tuple[str, ...]
    vocoder: str | None
    wheels: tuple[Wheel, ...]
    files: tuple[PackedFile, ...]


@cache
def read_catalogue() -> tuple[CatalogueModel, ...]:
    """All models of the catalogue, in its order. Read once: every name that is looked up asks for it."""
    content = tomllib.loads(files("antiphon.hub").joinpath("catalogue.toml").read_text("utf-8"))
    return tuple(_model(entry) for entry in content["model"])


def find_model(name: str) -> CatalogueModel | None:
    """The model of a catalogue name or alias, None if the catalogue has none of that name."""
    return next((model for model in read_catalogue() if name == model.name or name in model.aliases), None)


def nearest_names(name: str) -> list[str]:
    """Catalogue names and aliases that are spelled nearly like `name`, the nearest first."""
    names = [spelling for model in read_catalogue() for spelling in (model.name, *model.aliases)]
    return get_close_matches(name, names, n=3, cutoff=0.7)


def _model(entry: dict[str, Any]) -> CatalogueModel:
    languages = entry["languages"]
    return CatalogueModel(
        name=entry["name"],
        aliases=tuple(entry["aliases"]),
        task=entry["task"],
        languages=() if languages == "multilingual" else tuple(languages),
        size=entry["size"],
        licence=entry["licence"],
        good_for=entry["good_for"],
        hub=tuple(entry["hub"]),
        vocoder=entry.get("vocoder"),
        wheels=tuple(Wheel(**wheel) for wheel in entry.get("wheel", ())),
        files=tuple(_file(file) for file in entry.get("file", ())),
    )


def _file(entry: dict[str, Any]) -> PackedFile:
    parts = tuple((package, member) for package, _, member in (part.partition(":") for part in entry["parts"]))
    return PackedFile(entry["name"], entry["size"], entry["sha256"], parts)
