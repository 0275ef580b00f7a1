"""The libraries that only a benchmark needs, imported when it does; they come with an extra.

It must not know what they are for.
"""

from __future__ import annotations

import importlib
from typing import Any

from antiphon.errors import ConfigError


def bring(module: str) -> Any:
    """The module; ConfigError that says what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"{module.partition('.')[0]} is not installed; pip install 'antiphon[bench]' brings it."
        ) from error
