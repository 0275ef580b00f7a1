"""Import the libraries of the `bench` extra when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from antiphon.errors import ConfigError


def import_extra(module: str, *, setting: str | None = None) -> Any:
    """Import a module. Raises ConfigError with the install command; `setting` is the one that needs the module."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        message = f"{package} is not installed; pip install 'antiphon[bench]' installs it."
        raise ConfigError(message, setting=setting) from error
