"""A number of clients that ask at the same time, each one thing after another."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


def run_clients(ask: Callable[[int], None], clients: int, each: int) -> float:
    """`clients` threads, `each` requests one after another; `ask` gets the request's number. Seconds in all."""

    def client(index: int) -> None:
        for turn in range(each):
            ask(index * each + turn)

    threads = [threading.Thread(target=client, args=(index,)) for index in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began
