"""The budget of a fuzz test: how long it runs, and its random numbers."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

import pytest


class FuzzBudget(NamedTuple):
    """How many seconds a fuzz test runs, and its source of random numbers."""

    seconds: float
    rng: Random


@pytest.fixture
def fuzz_budget(request: pytest.FixtureRequest) -> FuzzBudget:
    """`seconds, rng = fuzz_budget`. The numbers depend on the seed and the test, not on which other tests run."""
    seconds: float = request.config.getoption("--fuzz-seconds")
    seed: int = request.config.getoption("--fuzz-seed")
    print(f"Run this again with --fuzz-seed {seed}")  # pytest shows it if the test fails
    return FuzzBudget(seconds, Random(f"{seed}/{request.node.name}"))
