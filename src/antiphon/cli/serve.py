"""`antiphon serve`, and `antiphon` with flags alone. Its flags are derived from the settings, plus OVMS's own.

Imports of the server and of actions are deferred, so that --help stays fast.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from antiphon.cli.ovms_flags import translate
from antiphon.environment import PREFIX
from antiphon.settings import Settings, load_settings

VALUELESS = frozenset(name for name, field in Settings.model_fields.items() if field.annotation is bool)


def translated(arguments: Sequence[str]) -> list[str]:
    """Rewrite OVMS's flags as ours; those without a meaning here are dropped with a line on stderr."""
    ours, notes = translate(arguments, VALUELESS)
    for line in notes:
        typer.echo(f"antiphon: {line}", err=True)
    return ours


def serve(**flags: object) -> None:
    """Serve models over HTTP until SIGINT or SIGTERM, or perform the action that a flag selects."""
    settings = load_settings({name: value for name, value in flags.items() if value is not None})
    if settings.action != "serve":
        from antiphon.cli import ovms_actions

        ovms_actions.run(settings)
        return
    from antiphon.server import lifecycle  # imports FastAPI

    if settings.source_model is not None:
        from antiphon.cli.ovms_actions import pull_model

        pull_model(settings)
    from antiphon.cli.progress import DownloadBar

    with DownloadBar() as bar:
        lifecycle.run_server(settings, report=typer.echo, progress=bar.progress)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """A setting as a flag. Its default is None, so that the environment is used without it."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    unit = f" In {extra['unit']}." if extra.get("unit") not in (None, "windows") else ""
    default = "" if field.default in (None, False) else f"; default {field.default}"
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description}{unit} [{PREFIX}{name.upper()}{default}]",
        show_default=False,
        case_sensitive=False,
    )
    kind: Any = field.annotation
    if kind == Path | None:
        kind, option.metavar = (
            str,
            "PATH",
        )  # as text, because an empty one is an error and Path("") is the working folder
    optional = kind if type(None) in get_args(kind) else kind | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[optional, option])


def _derive_flags(command: Any) -> None:
    parameters = [_parameter(name, field) for name, field in Settings.model_fields.items()]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}


_derive_flags(serve)
