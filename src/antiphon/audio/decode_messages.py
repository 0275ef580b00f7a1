"""The messages between the server and a helper that decodes."""

from __future__ import annotations

import struct

# From the server.
TASK = b"t"  # TASK_HEADER, and the first bytes of the file
DATA = b"d"  # the range that was requested
TASK_HEADER = struct.Struct(
    "<Qd?"
)  # the file's size in bytes, the most seconds of audio, whether it is in the short class
HEAD_BYTES = 1 << 20

# From the helper.
READ = b"r"  # RANGE: more of the file is needed
SAMPLES = b"s"  # mono float32 at 16 kHz
DONE = b"o"
LONG = b"l"  # the task belongs into the long class
ERROR = b"e"  # JSON: error (the class), message, param, code, unexpected (for the log)
RANGE = struct.Struct("<QI")  # position and length in bytes
MAX_RANGE_BYTES = 1 << 20
MAX_BLOCK_SAMPLES = 1 << 20
