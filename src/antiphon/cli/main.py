"""The command line: its commands, and how an error becomes one line on stderr and an exit code.

A command's module is imported when it is run, so that --help stays fast.
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

ROOT_OPTIONS = ("-h", "--help", "--version")
USAGE_ERROR: type[Exception] = typer.BadParameter.__mro__[
    1
]  # the base of typer's own errors, which typer does not export
FAILED = 2  # a wrong flag, folder or file


@dataclass(frozen=True, slots=True)
class Command:
    """A command whose module is not imported yet. `translate` is a function there that rewrites the arguments."""

    module: str
    function: str
    help: str
    translate: str | None = None


COMMANDS = {
    "serve": Command("antiphon.cli.serve", "serve", "Serve models over HTTP, with OpenAI's audio API.", "translated"),
    "transcribe": Command("antiphon.cli.transcribe", "transcribe", "Transcribe audio files."),
    "translate": Command("antiphon.cli.transcribe", "translate", "Transcribe audio files into English text."),
    "speak": Command("antiphon.cli.speak", "speak", "Synthesise speech from text into an audio file."),
    "models": Command("antiphon.cli.models", "models", "List the models a server would load, and their backends."),
    "pull": Command("antiphon.cli.pull", "pull", "Download models by catalogue name, or from the Hugging Face hub."),
    "export": Command("antiphon.cli.export", "export", "Export a model to OpenVINO IR, without PyTorch."),
    "bench": Command("antiphon.cli.bench", "bench", "Measure a server's or a model's throughput and latency."),
}


class LazyGroup(TyperGroup):
    """Lists the commands of the table and imports a command's module only to run it."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = COMMANDS.get(cmd_name)
        return TyperCommand(cmd_name, help=command.help) if command else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, stub, rest = super().resolve_command(ctx, args)
        if name not in COMMANDS:
            return name, stub, rest
        command = COMMANDS[name]
        single = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
        module = importlib.import_module(command.module)
        single.command(name, help=command.help)(getattr(module, command.function))
        if command.translate is not None:
            rest = getattr(module, command.translate)(rest)
        return name, typer.main.get_command(single), rest


def _hyphens(name: str) -> str:
    """Accept underscores, as in OVMS, and hyphens."""
    return name.replace("_", "-")


def _show_version(requested: bool) -> None:
    if requested:
        typer.echo(f"antiphon {__version__}")
        raise typer.Exit


def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """A speech model server on OpenVINO: the OpenAI audio API, batched across requests on a CPU.

    Without a command, flags are those of serve, as in OVMS: antiphon --rest_port 8000 --model_path FOLDER.
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
    """Run the command line. An AntiphonError is one line on stderr and exit code 2."""
    arguments = sys.argv[1:] or ["--help"]
    if arguments[0].startswith("-") and arguments[0] not in ROOT_OPTIONS:
        arguments = ["serve", *arguments]
    try:
        sys.exit(application()(arguments, prog_name="antiphon", standalone_mode=False) or 0)
    except AntiphonError as error:
        from antiphon.cli.usage_errors import describe

        _give_up(describe(error, arguments))
    except USAGE_ERROR as error:
        from antiphon.cli.usage_errors import describe_usage

        _give_up(describe_usage(error, arguments))
    except typer.Abort:
        _give_up("Stopped.")


def _give_up(reason: str) -> NoReturn:
    typer.echo(f"antiphon: {reason}", err=True)
    sys.exit(FAILED)
