"""Describes an error of the command line on one line that names the option as typed, or the environment variable."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

from pydantic import ValidationError

from antiphon.environment import PREFIX, REPOSITORY_VARIABLE
from antiphon.errors import AntiphonError, ConfigError, RequestError
from antiphon.validation_messages import one_of, requirement

# Options that set a setting, or a parameter of the Python API, under another name.
OTHER_OPTIONS = {
    "model_path": ("model", "source_model"),
    "target_device": ("device",),
    "speaker": ("speaker_path", "speaker_name"),
    "output": ("o",),
}
READ_ENVIRONMENT = ("serve", "models")  # the commands whose settings can be environment variables
OTHER_VARIABLES = {"model_repository_path": REPOSITORY_VARIABLE}


def describe(error: AntiphonError, arguments: Sequence[str]) -> str:
    """The message of an error, after the option or variable that is at fault."""
    if isinstance(error, ConfigError) and error.setting is not None:
        names = (error.setting, *OTHER_OPTIONS.get(error.setting, ()))
        origin = _typed(names, arguments) or _variable(error.setting, arguments) or f"--{error.setting}"
        return f"{origin}: {error.message}"
    option = _typed((error.param,), arguments) if isinstance(error, RequestError) and error.param else None
    return f"{option}: {error}" if option else str(error)


def describe_usage(error: Any, arguments: Sequence[str]) -> str:
    """The same for typer's errors; a value that its pydantic types refuse gets a sentence of our own."""
    cause, command = error.__cause__, error.ctx.command_path if error.ctx else "antiphon"
    message = " ".join(error.format_message().split()).rstrip(".")
    if isinstance(cause, ValidationError):
        parameter, wrong = error.param, cause.errors()[0]
        choices = parameter.type_descriptor.choices
        expected = requirement(wrong) if choices is None else one_of(choices)
        name = _typed(parameter.opts, arguments) or parameter.metavar or parameter.opts[0]
        message = f"{name}: {expected}, not {wrong['input']!r}"
    elif option := getattr(error, "option_name", None):
        message = message.replace(option, _typed((option,), arguments) or option)
    return f"{message}. See {command} --help."


def _typed(names: Sequence[str], arguments: Sequence[str]) -> str | None:
    """The first option with one of these names, as it was typed."""
    plain = {_plain(name) for name in names}
    return next((option for option in _options(arguments) if _plain(option) in plain), None)


def _options(arguments: Sequence[str]) -> Iterator[str]:
    for argument in arguments:
        if argument == "--":
            return
        if argument.startswith("-"):
            yield argument.partition("=")[0]


def _plain(name: str) -> str:
    return name.lstrip("-").replace("_", "-")


def _variable(setting: str, arguments: Sequence[str]) -> str | None:
    """The environment variable that sets a setting, if the command reads it."""
    if arguments[0] not in READ_ENVIRONMENT:
        return None
    ours = f"{PREFIX}{setting}".upper()
    names = [name for name in os.environ if name.upper() == ours or name == OTHER_VARIABLES.get(setting)]
    return min(names, key=lambda name: name.upper() != ours, default=None)
