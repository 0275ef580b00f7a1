"""`antiphon models`: the models that a server would load, and the backend of each, with the reason. Nothing is loaded."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from antiphon.errors import ConfigError
from antiphon.hub.catalogue import read_catalogue
from antiphon.hub.model_cache import cache_folder
from antiphon.loader import check, choose
from antiphon.model_spec import ModelSpec, model_specs
from antiphon.repository.config_json import CONFIG, list_models
from antiphon.settings import load_settings

ConfigFlag = Annotated[Path | None, typer.Option("--config-path", help="A config.json that lists models.")]
RepositoryFlag = Annotated[
    Path | None, typer.Option("--model-repository-path", help="A folder of models, with or without a config.json.")
]
ModelFlag = Annotated[str | None, typer.Option("--model-path", help="One model: a folder or a built-in name.")]
DeviceFlag = Annotated[str | None, typer.Option("--target-device", help="The OpenVINO device to run on.")]
AvailableFlag = Annotated[
    bool, typer.Option("--available", help="List the catalogue instead: the models that can be pulled by name.")
]
PIPE_WIDTH = 200  # characters, where no terminal gives a width
WIDE = 140  # characters in which all columns of the catalogue fit
MOST_LANGUAGES = 2  # named by code in the table; more are counted
HEADINGS = ("name", "family", "backend", "folder")


def models(
    config_path: ConfigFlag = None,
    model_repository_path: RepositoryFlag = None,
    model_path: ModelFlag = None,
    target_device: DeviceFlag = None,
    available: AvailableFlag = False,
) -> None:
    """List what a server with the same flags would load, or the catalogue."""
    if available:
        _print_catalogue()
        return
    flags = {
        "config_path": config_path,
        "model_repository_path": model_repository_path,
        "model_path": model_path,
        "target_device": target_device,
    }
    settings = load_settings({name: value for name, value in flags.items() if value is not None})
    repository = settings.model_repository_path
    if repository is not None and settings.config_path is None and not (repository / CONFIG).is_file():
        specs = tuple(
            ModelSpec(name, str(repository / name), device=settings.target_device, setting=None)
            for name in list_models(repository)
        )
    else:
        specs = model_specs(settings)
    if not specs:
        raise ConfigError(f"{settings.config_path or repository}: there is no model in it.")
    rows = [HEADINGS, *(_row(spec, alone=settings.model_path is not None) for spec in specs)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _print_catalogue() -> None:
    """Print the catalogue; on a narrow terminal without what matters least, so that names and sizes stay whole."""
    console = Console() if sys.stdout.isatty() else Console(width=PIPE_WIDTH)
    wide = console.width >= WIDE
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "MB", "languages", "here"):
        table.add_column(heading, no_wrap=True, justify="right" if heading == "MB" else "left")
    for heading in ("aliases", "licence") if wide else ():
        table.add_column(heading, no_wrap=True)
    table.add_column("good for")
    for model in read_catalogue():
        few = len(model.languages) <= MOST_LANGUAGES
        languages = (", ".join(model.languages) if few else str(len(model.languages))) or "many"
        here = "yes" if (cache_folder() / model.name).is_dir() else ""
        rest = (", ".join(model.aliases), model.licence) if wide else ()
        table.add_row(model.name, str(model.size), languages, here, *rest, model.good_for)
    console.print(table)
    typer.echo(f"\nantiphon pull NAME downloads a model to {cache_folder()}.")


def _row(spec: ModelSpec, *, alone: bool) -> tuple[str, str, str, str]:
    """The cells of a model. One that cannot be served shows the reason, or raises it if it is the only model."""
    try:
        choice = check(choose(spec.source, device=spec.device, graph=spec.graph, setting=spec.setting))
    except ConfigError as error:
        if alone:
            raise
        return spec.name, "?", "none", str(error)
    backend = f"{choice.backend} on {choice.device}" + (f" ({choice.reason})" if choice.reason else "")
    folder = "built in" if choice.family.detect is None else str(choice.folder.path)
    return spec.name, choice.family.name, backend, folder
