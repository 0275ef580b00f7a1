"""`antiphon serve`, and `antiphon` with flags alone: its flags are the settings table, and OVMS's own besides.

Whatever runs behind a flag is imported when it runs; this must not import what is heavy.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, get_args

import typer
from pydantic.fields import FieldInfo

from antiphon.cli.ovms_flags import translate
from antiphon.settings import PREFIX, Settings, load_settings

BARE = frozenset(name for name, field in Settings.model_fields.items() if field.annotation is bool)


def translated(arguments: Sequence[str]) -> list[str]:
    """OVMS's ways to write our flags, in ours; what has no meaning here is left out, and said."""
    ours, said = translate(arguments, BARE)
    for line in said:
        typer.echo(f"antiphon: {line}", err=True)
    return ours


def serve(**flags: object) -> None:
    """Do what the flags ask for: serve until a signal comes, unless one asks for something that ends by itself."""
    settings = load_settings({name: value for name, value in flags.items() if value is not None})
    if settings.action != "serve":
        from antiphon.cli import ovms_actions as config

        config.run(settings)
        return
    from antiphon.server import lifecycle as server  # brings the whole of HTTP in

    if settings.source_model is not None:
        from antiphon.cli.ovms_actions import pull_model

        pull_model(settings)
    server.run_server(settings, report=typer.echo)


def _parameter(name: str, field: FieldInfo) -> inspect.Parameter:
    """One knob as a flag. Its default is None, so that a flag left out leaves the word to the environment."""
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
        kind, option.metavar = str, "PATH"  # as text: an empty one is wrong, and a Path of it is the working folder
    optional = kind if type(None) in get_args(kind) else kind | None
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[optional, option])


def _derive_flags(command: Any) -> None:
    parameters = [_parameter(name, field) for name, field in Settings.model_fields.items()]
    command.__signature__ = inspect.Signature(parameters)
    command.__annotations__ = {each.name: each.annotation for each in parameters}


_derive_flags(serve)
