"""Owns what eSpeak NG's library tells along with its sound: which word and which phoneme begins when.

It must not know who asks, or load the library."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

LIST_END, WORD_EVENT, PHONEME_EVENT = 0, 1, 7


class _Identity(ctypes.Union):
    _fields_ = (("number", ctypes.c_int), ("name", ctypes.c_char_p), ("string", ctypes.c_char * 8))


class Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("identity", _Identity),
    )


# What the library calls with every stretch of sound: samples, how many, and the events in them.
Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(Event))


def listed(events: ctypes.Array[Event]) -> Iterator[Event]:
    """Those that one call brings."""
    place = 0
    while events and events[place].type != LIST_END:
        yield events[place]
        place += 1
