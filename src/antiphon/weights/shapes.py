"""Checks that the weights fit the model that config.json describes, before a graph is built and while it is built."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from antiphon.errors import WeightError


class ShapeSource(Protocol):
    """Tensors by name, with their shapes only."""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises WeightError or NotNative if it does not exist."""
        ...


def check_shapes(folder: Path, expected: Mapping[str, tuple[int, ...]], weights: ShapeSource) -> None:
    """Raise WeightError naming tensor and folder if a tensor does not have its `expected` shape."""
    for name, shape in expected.items():
        if weights.shape(name) != shape:
            raise WeightError(
                f"{folder}: tensor {name} is {list(weights.shape(name))}, but config.json says {list(shape)}; "
                "the two files are not of one model."
            )


@contextmanager
def making_graphs(folder: Path) -> Iterator[None]:
    """Turn OpenVINO's RuntimeError for shapes that do not fit, while a graph is built or compiled, into a WeightError."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightError(f"{folder}: the weights do not make the model of config.json ({reason}).") from error
