"""A number of clients that ask at the same time, each one thing after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timed:
    """Seconds in all, and each request's."""

    seconds: float
    latencies: tuple[float, ...]


def run_clients(ask: Callable[[int], None], clients: int, each: int) -> Timed:
    """`clients` threads, `each` requests one after another; `ask` gets the request's number."""
    latencies: list[float] = []

    def client(index: int) -> None:
        for turn in range(each):
            began = time.perf_counter()
            ask(index * each + turn)
            latencies.append(time.perf_counter() - began)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Timed(time.perf_counter() - began, tuple(latencies))
