"""Which voice a request means: a name the model has, its default, or what stands in for a name of OpenAI's.

It must not know HTTP or how a voice sounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from antiphon.errors import InvalidParameter
from antiphon.languages import NAMES, normalise
from antiphon.types.results import ModelInfo

# In alphabetical order. The i-th of them means the model's i-th stand-in, going round where there are fewer of those.
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

# Names that ask for none in particular; "unused" is what the scripts of OVMS users send.
DEFAULT_VOICES = frozenset({"default", "unused"})

MANY, FEW = 20, 5  # more names than the first are not all told of, but so many of them
LISTED = "GET /v1/audio/voices and `antiphon speak --list-voices`"


def choose_voice(info: ModelInfo, wanted: str | None, language: str | None = None) -> str:
    """The voice of `info`'s model for a name and a language, or `InvalidParameter` with the valid ones.

    A voice of the model's own is taken as it is. Otherwise a language chooses the first voice of that language, where voices
    are languages or are called after them; without one, a name of OpenAI's chooses a stand-in, and no name the default.
    """
    if wanted in info.voices:
        return wanted
    if wanted and wanted not in DEFAULT_VOICES and wanted not in OPENAI_VOICES:
        openai = ", ".join(OPENAI_VOICES) if len(info.voices) <= MANY else "thirteen names, alloy to verse"
        raise InvalidParameter(
            f"voice {wanted!r} is not one that {info.name!r} has.{_told(wanted, info.voices)}; and OpenAI's {openai}.",
            param="voice",
        )
    other = _voice_of(info, language) if language else None
    if other is not None:
        return other
    if wanted in OPENAI_VOICES:
        stand_ins = info.stand_ins or info.voices
        return stand_ins[OPENAI_VOICES.index(wanted) % len(stand_ins)]
    return info.voices[0]


def _voice_of(info: ModelInfo, language: str) -> str | None:
    """The voice of a language; None if it is the one the default voice speaks anyway."""
    asked = language.strip().lower().replace("_", "-")
    base = normalise(asked)
    if asked == info.default_language.lower():
        return None
    exact = [code for code in info.languages if code.lower() == asked]
    kindred = [code for code in info.languages if base is not None and normalise(code) == base]
    if not exact and base is not None and normalise(info.default_language) == base:
        return None
    meant = exact + kindred
    called = [code for code in meant if code in info.voices] or [one for one in info.voices if normalise(one) in meant]
    if called:
        return called[0]
    valid = info.languages or (info.default_language,)
    raise InvalidParameter(
        f"language {language!r} is not one that {info.name!r} speaks.{_told(asked, valid)}.", param="language"
    )


def _told(wanted: str, valid: Sequence[str]) -> str:
    """What comes near, and the valid names; of many how many, and where to find them."""
    near = _near(wanted, valid)
    *others, last = (f"`{each}`" for each in near or ("",))
    meant = f" Did you mean {', '.join(others)}{' or ' if others else ''}{last}?" if near else ""
    if len(valid) <= MANY:
        return f"{meant} Valid: {', '.join(valid)}"
    such = "" if near else f" ({', '.join(valid[:FEW])}, …)"
    return f"{meant} There are {len(valid)}{such}, which {LISTED} list"


def _near(wanted: str, valid: Sequence[str]) -> list[str]:
    """The few names that may have been meant: another case, the name of a language for its code, a slip of the pen."""
    asked = wanted.strip().casefold()
    # Who names no speaker of a voice is told of none.
    plain = [each for each in valid if "+" in asked or "+" not in each]
    spelt: dict[str, list[str]] = {}
    for each in plain:
        for name in (each.casefold(), NAMES.get(normalise(each) or "", each.casefold())):
            spelt.setdefault(name, []).append(each)
    kin = [each for each in plain if normalise(each) is not None and normalise(each) == normalise(asked)]
    found = spelt.get(asked) or kin
    if not found:
        found = [each for name in get_close_matches(asked, spelt, n=FEW, cutoff=0.7) for each in spelt[name]]
    return list(dict.fromkeys(found))[:FEW]


def language_of(info: ModelInfo, voice: str) -> str:
    """The code of the language a voice speaks ("en" for "en-us+f2", "es" for "spanish"): what its numbers are spelt in."""
    spoken = voice.partition("+")[0]
    known = spoken in info.languages or normalise(spoken) in info.languages
    return normalise(spoken if known else info.default_language) or spoken
