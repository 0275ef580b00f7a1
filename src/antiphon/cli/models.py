"""`antiphon models`: what a server would load, which backend would serve each of them, and why. Nothing is loaded.

It knows the settings and the registry's choices; it must not know HTTP or the runtime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from antiphon.errors import ConfigError
from antiphon.loader import choose, look_closely
from antiphon.model_spec import ModelSpec, model_specs
from antiphon.repository.config_json import CONFIG, list_models
from antiphon.settings import load_settings

ConfigFlag = Annotated[Path | None, typer.Option("--config-path", help="A config.json that names models.")]
RepositoryFlag = Annotated[
    Path | None, typer.Option("--model-repository-path", help="A folder of models, with or without a config.json.")
]
ModelFlag = Annotated[str | None, typer.Option("--model-path", help="One model: a folder or a built-in name.")]
DeviceFlag = Annotated[str | None, typer.Option("--target-device", help="The OpenVINO device to run on.")]
HEADINGS = ("name", "family", "backend", "folder")


def models(
    config_path: ConfigFlag = None,
    model_repository_path: RepositoryFlag = None,
    model_path: ModelFlag = None,
    target_device: DeviceFlag = None,
) -> None:
    """List what a server with the same flags would load."""
    flags = {
        "config_path": config_path,
        "model_repository_path": model_repository_path,
        "model_path": model_path,
        "target_device": target_device,
    }
    settings = load_settings({name: value for name, value in flags.items() if value is not None})
    repository = settings.model_repository_path
    if repository is not None and settings.config_path is None and not (repository / CONFIG).is_file():
        wanted = tuple(
            ModelSpec(name, str(repository / name), device=target_device) for name in list_models(repository)
        )
    else:
        wanted = model_specs(settings)
    if not wanted:
        raise ConfigError(f"{settings.config_path or repository}: there is no model in it.")
    rows = [HEADINGS, *(_row(each, alone=settings.model_path is not None) for each in wanted)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(wanted: ModelSpec, *, alone: bool) -> tuple[str, str, str, str]:
    """What is told of a model. One that cannot be served has its reason there, unless it is the only one asked for."""
    try:
        choice = look_closely(choose(wanted.source, device=wanted.device, graph=wanted.graph))
    except ConfigError as error:
        if alone:
            raise
        return wanted.name, "?", "none", str(error)
    backend = f"{choice.backend} on {choice.device}"
    built_in = choice.folder == Path()
    return (
        wanted.name,
        choice.family,
        f"{backend} ({choice.reason})" if choice.reason else backend,
        "built in" if built_in else str(choice.folder),
    )
