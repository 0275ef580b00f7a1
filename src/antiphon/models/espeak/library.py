"""eSpeak NG's shared library. It can crash on a text, so it is loaded in the helper process only, never in the server's.

It is part of the package `espeakng-loader` (GPL-3.0), an extra. Nothing here needs NumPy: the helper starts the faster.
"""

from __future__ import annotations

import ctypes
import importlib
import re
from collections.abc import Callable
from pathlib import Path

from antiphon.errors import ConfigError, EngineFailed

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback and nowhere else
UTF8 = 1  # espeakCHARS_UTF8
_SPEED, _PITCH = 1, 3  # espeakRATE and espeakPITCH of espeak_PARAMETER
CHARACTER_POSITION = 1  # POS_CHARACTER

# Control characters are not spoken; U+0001 starts a command that changes the voice in the middle of a text. White space, which
# separates clauses, stays.
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")

_SEED = 0  # of the library's noise; its own is the time

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class _VoiceRecord(ctypes.Structure):
    """espeak_VOICE of speak_lib.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.POINTER(ctypes.c_char)),  # a priority byte and a code, for each; then a zero byte
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("reserved", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class Library:
    """The loaded library. `rate` is its sample rate in Hz. It keeps its state in global variables: one thread, one instance.

    The same texts in the same order give the same samples in every process; a repeated text differs slightly, because the
    oscillators run on between two texts. Raises ConfigError if the package is not installed or lacks its data.
    """

    def __init__(self) -> None:
        try:
            loader = importlib.import_module("espeakng_loader")
        except ModuleNotFoundError as error:
            raise ConfigError("espeak: the package espeakng-loader is not installed.") from error
        self.path = Path(loader.get_library_path())
        self._data = Path(loader.get_data_path())
        self._functions = ctypes.CDLL(str(self.path))
        self._functions.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceRecord))
        self.rate = int(self._functions.espeak_Initialize(SYNCHRONOUS, 0, str(self._data).encode(), 0))
        if self.rate <= 0:
            raise ConfigError(f"espeak: {self._data} holds no voice data; install espeakng-loader again.")
        if hasattr(self._functions, "espeak_ng_SetRandSeed"):  # since eSpeak NG 1.52
            self._functions.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))
        # One for all texts: making it may need system calls that the helper gives up before it gets its first text.
        self._callback = _Callback(self._pass_on)
        self._take: Callable[[bytes], None] = lambda samples: None
        self._failure: BaseException | None = None
        self._files = self._list_voices()

    def languages(self) -> list[str]:
        """The codes of all languages, sorted."""
        return sorted(self._files)

    def variants(self) -> list[str]:
        """The voice variants that can be combined with every language: `language+variant` is a voice too."""
        return sorted(path.name for path in (self._data / "voices" / "!v").iterdir() if path.is_file())

    def speak(
        self, text: str, voice: str, take: Callable[[bytes], None], *, words_a_minute: int = 175, pitch: int = 50
    ) -> None:
        """Call `take` with one block of samples after the other: mono 16-bit integers at `rate`, in the machine's byte order.

        A text without words has no block. The pitch goes from 0 to 100; both defaults are the library's own. EngineFailed if
        the library refuses the voice or the text. An exception out of `take` ends the synthesis and is raised again.
        """
        language, plus, variant = voice.partition("+")
        name = self._files.get(language, language) + plus + variant
        if self._functions.espeak_SetVoiceByName(name.encode()) != 0:
            raise EngineFailed(f"eSpeak NG has no voice {voice!r}.")
        # Set every time: the library keeps the values of the previous call.
        for parameter, value in ((_SPEED, words_a_minute), (_PITCH, pitch)):
            self._functions.espeak_SetParameter(parameter, value, 0)
        self._take, self._failure = take, None
        self._functions.espeak_SetSynthCallback(self._callback)
        encoded = _CONTROL.sub(" ", text).encode(errors="replace") + b"\0"
        status = self._functions.espeak_Synth(
            encoded, ctypes.c_size_t(len(encoded)), 0, CHARACTER_POSITION, 0, UTF8, None, None
        )
        self._functions.espeak_Synchronize()
        if self._failure is not None:
            raise self._failure
        if status != 0:
            raise EngineFailed(f"eSpeak NG could not speak a sentence (status {status}).")

    def _pass_on(self, samples: ctypes.Array[ctypes.c_short], count: int, _events: object) -> int:
        """Called by the library for each block; any result but 0 ends the synthesis."""
        if samples and count > 0 and self._failure is None:
            try:
                self._take(ctypes.string_at(samples, count * ctypes.sizeof(ctypes.c_short)))
            except BaseException as error:  # noqa: BLE001  `speak` raises it again; ctypes would only print it
                self._failure = error
        return int(self._failure is not None)

    def _list_voices(self) -> dict[str, str]:
        """The voice file of each language, the name that the library accepts: `roa/fr`, not `fr-fr`."""
        records = self._functions.espeak_ListVoices(None)
        files: dict[str, str] = {}
        index = 0
        while records[index]:
            voice = records[index].contents
            # The first byte is the voice's priority for the language, not part of the code.
            code = ctypes.string_at(ctypes.addressof(voice.languages.contents) + 1).decode()
            file = voice.identifier.decode()
            if code not in files and self._has_dictionary(code, file):
                files[code] = file
            index += 1
        return files

    def _has_dictionary(self, code: str, file: str) -> bool:
        """Whether the language has its dictionary; a few do not, and their text would be spelled out in another language."""
        name = code.partition("-")[0]
        for line in (self._data / "lang" / file).read_text(encoding="utf-8").splitlines():
            words = line.split()
            if words[:1] == ["dictionary"]:
                name = words[1]
        return (self._data / f"{name}_dict").is_file()
