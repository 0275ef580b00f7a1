"""The command line: which commands exist, and how an error becomes one line and an exit code.

Help must be instant, so a command's module is imported when it is run; this one must not import anything heavy.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from antiphon._version import __version__
from antiphon.errors import AntiphonError

OF_THE_ROOT = ("-h", "--help", "--version")
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[1]  # typer names no other of those it raises
FAILED = 2  # the exit code for a wrong flag, folder or file, the same as for wrong usage


@dataclass(frozen=True, slots=True)
class Entry:
    """A command, before its module is imported. `translate` names a function there that puts its arguments into our words."""

    module: str
    function: str
    help: str
    translate: str | None = None


COMMANDS = {
    "serve": Entry("antiphon.cli.serve", "serve", "Serve models over HTTP, with OpenAI's audio API.", "translated"),
    "transcribe": Entry("antiphon.cli.transcribe", "transcribe", "Write down what is said in audio files."),
    "translate": Entry("antiphon.cli.transcribe", "translate", "Write down in English what is said in audio files."),
    "speak": Entry("antiphon.cli.speak", "speak", "Say a text aloud, into a sound file."),
    "models": Entry("antiphon.cli.models", "models", "List what a server would load, and by which backend."),
    "pull": Entry("antiphon.cli.pull", "pull", "Bring a model from the Hugging Face hub."),
    "export": Entry("antiphon.cli.export", "export", "Write a model as OpenVINO's own files, without PyTorch."),
    "bench": Entry("antiphon.cli.bench", "bench", "Measure a server's or a model's throughput and latency."),
}


class LazyGroup(TyperGroup):
    """Lists commands from the table; imports a command's module only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        entry = COMMANDS.get(cmd_name)
        return TyperCommand(cmd_name, help=entry.help) if entry else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, stub, rest = super().resolve_command(ctx, args)
        if name not in COMMANDS:
            return name, stub, rest
        entry = COMMANDS[name]
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        module = importlib.import_module(entry.module)
        single.command(name, help=entry.help)(getattr(module, entry.function))
        if entry.translate is not None:
            rest = getattr(module, entry.translate)(rest)
        return name, typer.main.get_command(single), rest


def _hyphens(name: str) -> str:
    """OVMS spells flags with underscores, everyone else with hyphens: both are understood."""
    return name.replace("_", "-")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"antiphon {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    """A speech model server on OpenVINO: the OpenAI audio API, batched across requests on a CPU.

    Flags without a command are those of serve, as OVMS has them: antiphon --rest_port 8000 --model_path FOLDER.
    """


def application() -> typer.Typer:
    """The root command."""
    app = typer.Typer(
        name="antiphon",
        cls=LazyGroup,
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"token_normalize_func": _hyphens, "help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    return app


def run() -> None:
    """Run the command line. What a person can mend is one line on stderr, never a traceback."""
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0].startswith("-") and arguments[0] not in OF_THE_ROOT:
        arguments = ["serve", *arguments]
    try:
        sys.exit(application()(arguments, prog_name="antiphon", standalone_mode=False) or 0)
    except AntiphonError as error:
        from antiphon.cli.usage_errors import tell

        _give_up(tell(error, arguments))
    except USAGE_ERROR as error:
        from antiphon.cli.usage_errors import tell_usage

        _give_up(tell_usage(error, arguments))
    except typer.Abort:
        _give_up("Stopped.")


def _give_up(reason: str) -> NoReturn:
    typer.echo(f"antiphon: {reason}", err=True)
    sys.exit(FAILED)
