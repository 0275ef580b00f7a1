"""Choose a model's voice for a request: by its own name, by one of OpenAI's names, or by language."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from antiphon.errors import MAX_QUOTED, InvalidParameter, quoted
from antiphon.languages import NAMES, normalise
from antiphon.types.results import ModelInfo

# In alphabetical order. The i-th name maps to the i-th of the model's `openai_voices`, starting over if there are fewer.
OPENAI_VOICES = (
    "alloy",
    "ash",
    "ballad",
    "cedar",
    "coral",
    "echo",
    "fable",
    "marin",
    "nova",
    "onyx",
    "sage",
    "shimmer",
    "verse",
)

# Names for the default voice; the scripts of OVMS users send "unused".
DEFAULT_VOICES = frozenset({"default", "unused"})

MAX_NAMES_LISTED = 20  # in an error message; of a longer list only the first few and the number
MAX_SUGGESTIONS = 5
HOW_TO_LIST = "GET /v1/audio/voices and `antiphon speak --list-voices`"


def choose_voice(info: ModelInfo, name: str | None, language: str | None = None) -> str:
    """The voice of a model for a name and a language. Raises InvalidParameter with the valid ones.

    One of the model's own voices is used as it is. Otherwise a language selects its first voice, if the model's voices are
    languages or are named after them; without a language, one of OpenAI's names selects one of `openai_voices`, and no name
    the default.
    """
    if name in info.voices:
        return name
    if name and name not in DEFAULT_VOICES and name not in OPENAI_VOICES:
        openai = ", ".join(OPENAI_VOICES) if len(info.voices) <= MAX_NAMES_LISTED else "thirteen names, alloy to verse"
        raise InvalidParameter(
            f"voice {quoted(name)} is not one that {info.name!r} has.{_suggestions(name, info.voices)}; and OpenAI's {openai}.",
            param="voice",
        )
    other = _voice_of_language(info, language) if language else None
    if other is not None:
        return other
    if name in OPENAI_VOICES:
        openai_voices = info.openai_voices or info.voices
        return openai_voices[OPENAI_VOICES.index(name) % len(openai_voices)]
    return info.voices[0]


def language_of(info: ModelInfo, voice: str) -> str:
    """The code of a voice's language, for spelling numbers: "en" for "en-us+f2", "es" for "spanish"."""
    base = voice.partition("+")[0]
    known = base in info.languages or normalise(base) in info.languages
    return normalise(base if known else info.default_language) or base


def _voice_of_language(info: ModelInfo, language: str) -> str | None:
    """The voice of a language; None if the default voice has it."""
    requested = language.strip().lower().replace("_", "-")
    base = normalise(requested)
    if requested == info.default_language.lower():
        return None
    exact = [code for code in info.languages if code.lower() == requested]
    related = [code for code in info.languages if base is not None and normalise(code) == base]
    if not exact and base is not None and normalise(info.default_language) == base:
        return None
    codes = exact + related
    voices = [code for code in codes if code in info.voices] or [
        name for name in info.voices if normalise(name) in codes
    ]
    if voices:
        return voices[0]
    valid = info.languages or (info.default_language,)
    raise InvalidParameter(
        f"language {quoted(language)} is not one that {info.name!r} speaks.{_suggestions(requested, valid)}.",
        param="language",
    )


def _suggestions(name: str, valid: Sequence[str]) -> str:
    """The similar names and the valid ones; of many only their number, and how to list them."""
    near = _similar(name, valid)
    *others, last = (f"`{suggestion}`" for suggestion in near or ("",))
    question = f" Did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if near else ""
    if len(valid) <= MAX_NAMES_LISTED:
        return f"{question} Valid: {', '.join(valid)}"
    examples = "" if near else f" ({', '.join(valid[:MAX_SUGGESTIONS])}, …)"
    return f"{question} There are {len(valid)}{examples}, which {HOW_TO_LIST} list"


def _similar(name: str, valid: Sequence[str]) -> list[str]:
    """The valid names that may be meant: in another case, by the name of their language, or misspelled."""
    folded = name.strip().casefold()[:MAX_QUOTED]  # comparing with a long one takes time
    # Suggest speaker variants ("en-us+f2") only if the request named one.
    candidates = [candidate for candidate in valid if "+" in folded or "+" not in candidate]
    by_spelling: dict[str, list[str]] = {}
    for candidate in candidates:
        own = candidate.casefold()
        for spelling in (own, NAMES.get(normalise(candidate) or "", own)):
            by_spelling.setdefault(spelling, []).append(candidate)
    language = normalise(folded)
    similar = by_spelling.get(folded) or [code for code in candidates if language and normalise(code) == language]
    if not similar:
        close = get_close_matches(folded, by_spelling, n=MAX_SUGGESTIONS, cutoff=0.7)
        similar = [candidate for spelling in close for candidate in by_spelling[spelling]]
    return list(dict.fromkeys(similar))[:MAX_SUGGESTIONS]
