"""Does a checkpoint make the model its config describes? Shapes are compared before a graph is built, and what is left, after.

It must not know which model that is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from antiphon.errors import WeightError


class ShapeSource(Protocol):
    """Tensors by name, of which only the shape is asked."""

    def has(self, name: str) -> bool:
        """Whether a tensor of that name exists."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The tensor's shape. Raises WeightError if there is none of that name."""
        ...


def check_shapes(folder: Path, expected: Mapping[str, tuple[int, ...]], weights: ShapeSource) -> None:
    """Compare each tensor named. Raises WeightError naming tensor and folder."""
    for name, shape in expected.items():
        if weights.shape(name) != shape:
            raise WeightError(
                f"{folder}: tensor {name} is {list(weights.shape(name))}, but config.json says {list(shape)}; "
                "the two files are not of one model."
            )


@contextmanager
def making_graphs(folder: Path) -> Iterator[None]:
    """Shapes that fit nothing come to light while a graph is built or compiled, as OpenVINO's only error."""
    try:
        yield
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightError(f"{folder}: the weights do not make the model of config.json ({reason}).") from error
