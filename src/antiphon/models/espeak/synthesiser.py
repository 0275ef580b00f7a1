"""eSpeak NG's shared library, called in process. It is part of the package `espeakng-loader` (GPL-3.0), an extra."""

from __future__ import annotations

import ctypes
import importlib
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from antiphon.errors import ConfigError, EngineFailed
from antiphon.types.audio import Samples

SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: samples go to the callback and nowhere else
UTF8 = 1  # espeakCHARS_UTF8
_SPEED, _PITCH = 1, 3  # espeakRATE and espeakPITCH of espeak_PARAMETER
CHARACTER_POSITION = 1  # POS_CHARACTER

_INSTALL = "espeak: the eSpeak NG library is not installed; pip install 'antiphon[espeak]' brings it (GPL-3.0)."

# The library keeps its voice and its callback in global variables, so a process can make one call at a time.
_LOCK = Lock()

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


class Synthesiser:
    """The loaded library. `rate` is its sample rate in Hz."""

    def __init__(self) -> None:
        try:
            loader = importlib.import_module("espeakng_loader")
        except ModuleNotFoundError as error:
            raise ConfigError(_INSTALL) from error
        self.path = Path(loader.get_library_path())
        self._data = Path(loader.get_data_path())
        with _LOCK:
            self._functions = ctypes.CDLL(str(self.path))
            self._functions.espeak_ListVoices.restype = ctypes.POINTER(ctypes.POINTER(_VoiceRecord))
            self.rate = int(self._functions.espeak_Initialize(SYNCHRONOUS, 0, str(self._data).encode(), 0))
            if self.rate <= 0:
                raise ConfigError(f"espeak: {self._data} holds no voice data; install espeakng-loader again.")
            self._files = self._list_voices()

    def languages(self) -> tuple[str, ...]:
        """The codes of all languages, sorted."""
        return tuple(sorted(self._files))

    def variants(self) -> tuple[str, ...]:
        """The voice variants that can be combined with every language: `language+variant` is a voice too."""
        return tuple(sorted(path.name for path in (self._data / "voices" / "!v").iterdir() if path.is_file()))

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

    def speak(self, text: str, voice: str, *, words_a_minute: int = 175, pitch: int = 50) -> Samples:
        """`text` in the voice `voice`: mono float32 at `rate`, empty for a text without words.

        The pitch goes from 0 to 100. Both defaults are the library's own.
        """
        pieces: list[NDArray[np.int16]] = []

        def take(samples: ctypes.Array[ctypes.c_short], count: int, _events: object) -> int:
            if samples and count > 0:
                pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
            return 0

        language, plus, variant = voice.partition("+")
        name = self._files.get(language, language) + plus + variant
        encoded = text.replace("\0", " ").encode() + b"\0"
        with _LOCK:
            if self._functions.espeak_SetVoiceByName(name.encode()) != 0:
                raise EngineFailed(f"eSpeak NG has no voice {voice!r}.")
            # Set every time: the library keeps the values of the previous call.
            for parameter, value in ((_SPEED, words_a_minute), (_PITCH, pitch)):
                self._functions.espeak_SetParameter(parameter, value, 0)
            callback = _Callback(take)  # held until the call is over: the library keeps no reference
            self._functions.espeak_SetSynthCallback(callback)
            status = self._functions.espeak_Synth(
                encoded, ctypes.c_size_t(len(encoded)), 0, CHARACTER_POSITION, 0, UTF8, None, None
            )
            self._functions.espeak_Synchronize()
        if status != 0:
            raise EngineFailed(f"eSpeak NG could not speak a sentence (status {status}).")
        if not pieces:
            return np.zeros(0, np.float32)
        return np.concatenate(pieces).astype(np.float32) / np.float32(32768)
