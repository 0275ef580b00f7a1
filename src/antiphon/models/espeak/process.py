"""The helper process of eSpeak NG: texts in, samples out. It is the only process into which the library (GPL-3.0) is loaded.

The messages, by kind. The helper sends first: VOICES once, or ERROR if there is no library. Each SPEAK is answered by any number
of SAMPLES and one FINISHED, or by ERROR.
"""

from __future__ import annotations

import json
from functools import partial

from antiphon.errors import AntiphonError
from antiphon.isolation.channel import Channel
from antiphon.isolation.child import run_helper, task_limits
from antiphon.models.espeak.library import Library

VOICES = b"V"  # JSON: path, rate, languages and variants
SPEAK = b"S"  # JSON: text, voice and cpu_seconds
SAMPLES = b"A"  # mono 16-bit integers in the machine's byte order
FINISHED = b"F"
ERROR = b"E"  # a sentence in UTF-8

MEMORY_BYTES = 64 << 20  # what one sentence may allocate; the largest dictionary takes 8 MB
_BLOCK_BYTES = (
    1 << 15
)  # 0.7 s; the library gives 60 ms at a time. Such a message fits into a pipe: the helper goes on at once


def main() -> None:
    """The main function of the helper. The library is loaded before the process gives up most system calls."""
    try:
        library = Library()
    except AntiphonError as error:
        run_helper(partial(_refuse, str(error)), reads_files=False)
    else:
        run_helper(partial(_serve, library), reads_files=True)  # voices and dictionaries


def _refuse(reason: str, channel: Channel) -> None:
    channel.send(ERROR, reason.encode())


def _serve(library: Library, channel: Channel) -> None:
    """Speak until the other end of `channel` is closed, which raises EOFError."""
    voices = {
        "path": str(library.path),
        "rate": library.rate,
        "languages": library.languages(),
        "variants": library.variants(),
    }
    channel.send(VOICES, json.dumps(voices).encode())
    while True:
        task = json.loads(channel.receive().payload)
        try:
            with task_limits(memory_bytes=MEMORY_BYTES, cpu_seconds=task["cpu_seconds"]):
                _speak(library, channel, task["text"], task["voice"])
        except AntiphonError as error:
            channel.send(ERROR, str(error).encode())
        else:
            channel.send(FINISHED)


def _speak(library: Library, channel: Channel, text: str, voice: str) -> None:
    block = bytearray()

    def take(samples: bytes) -> None:
        block.extend(samples)
        if len(block) >= _BLOCK_BYTES:
            channel.send(SAMPLES, bytes(block))
            block.clear()

    library.speak(text, voice, take)
    if block:
        channel.send(SAMPLES, bytes(block))


if __name__ == "__main__":
    main()
