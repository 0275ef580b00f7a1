"""Where the starter models are: a small Whisper and a small SpeechT5 of English and Spanish."""

from __future__ import annotations

from pathlib import Path

_FIXTURES = Path(__file__).parents[1] / "fixtures"
STARTER_ASR = _FIXTURES / "starter-asr"
STARTER_TTS = _FIXTURES / "starter-tts"
