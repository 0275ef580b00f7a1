"""The languages of Whisper by code and name, other spellings of them, and one lookup."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

# In Whisper's order: the token id of "<|xx|>" is the first language's id plus its index here. "yue" was added in large-v3.
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "en": "english",
        "zh": "chinese",
        "de": "german",
        "es": "spanish",
        "ru": "russian",
        "ko": "korean",
        "fr": "french",
        "ja": "japanese",
        "pt": "portuguese",
        "tr": "turkish",
        "pl": "polish",
        "ca": "catalan",
        "nl": "dutch",
        "ar": "arabic",
        "sv": "swedish",
        "it": "italian",
        "id": "indonesian",
        "hi": "hindi",
        "fi": "finnish",
        "vi": "vietnamese",
        "he": "hebrew",
        "uk": "ukrainian",
        "el": "greek",
        "ms": "malay",
        "cs": "czech",
        "ro": "romanian",
        "da": "danish",
        "hu": "hungarian",
        "ta": "tamil",
        "no": "norwegian",
        "th": "thai",
        "ur": "urdu",
        "hr": "croatian",
        "bg": "bulgarian",
        "lt": "lithuanian",
        "la": "latin",
        "mi": "maori",
        "ml": "malayalam",
        "cy": "welsh",
        "sk": "slovak",
        "te": "telugu",
        "fa": "persian",
        "lv": "latvian",
        "bn": "bengali",
        "sr": "serbian",
        "az": "azerbaijani",
        "sl": "slovenian",
        "kn": "kannada",
        "et": "estonian",
        "mk": "macedonian",
        "br": "breton",
        "eu": "basque",
        "is": "icelandic",
        "hy": "armenian",
        "ne": "nepali",
        "mn": "mongolian",
        "bs": "bosnian",
        "kk": "kazakh",
        "sq": "albanian",
        "sw": "swahili",
        "gl": "galician",
        "mr": "marathi",
        "pa": "punjabi",
        "si": "sinhala",
        "km": "khmer",
        "sn": "shona",
        "yo": "yoruba",
        "so": "somali",
        "af": "afrikaans",
        "oc": "occitan",
        "ka": "georgian",
        "be": "belarusian",
        "tg": "tajik",
        "sd": "sindhi",
        "gu": "gujarati",
        "am": "amharic",
        "yi": "yiddish",
        "lo": "lao",
        "uz": "uzbek",
        "fo": "faroese",
        "ht": "haitian creole",
        "ps": "pashto",
        "tk": "turkmen",
        "nn": "nynorsk",
        "mt": "maltese",
        "sa": "sanskrit",
        "lb": "luxembourgish",
        "my": "myanmar",
        "bo": "tibetan",
        "tl": "tagalog",
        "mg": "malagasy",
        "as": "assamese",
        "tt": "tatar",
        "haw": "hawaiian",
        "ln": "lingala",
        "ha": "hausa",
        "ba": "bashkir",
        "jw": "javanese",
        "su": "sundanese",
        "yue": "cantonese",
    }
)

CODES: Mapping[str, str] = MappingProxyType({name: code for code, name in NAMES.items()})

# Other names in use, as openai-whisper lists them, and a few more.
OTHER_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "burmese": "my",
        "valencian": "ca",
        "flemish": "nl",
        "haitian": "ht",
        "letzeburgesch": "lb",
        "pushto": "ps",
        "panjabi": "pa",
        "moldavian": "ro",
        "moldovan": "ro",
        "sinhalese": "si",
        "castilian": "es",
        "mandarin": "zh",
        "bokmal": "no",
        "bokmål": "no",
        "norwegian nynorsk": "nn",
        "farsi": "fa",
        "filipino": "tl",
        "bangla": "bn",
    }
)

# Subtags of ISO 639 or BCP 47 for which Whisper has another code.
OTHER_CODES: Mapping[str, str] = MappingProxyType(
    {
        "iw": "he",
        "in": "id",
        "jv": "jw",
        "nb": "no",
        "fil": "tl",
        "ji": "yi",
        "mo": "ro",
        "cmn": "zh",
    }
)

# Written without spaces between words.
SPACELESS = frozenset({"zh", "ja", "th", "lo", "my", "yue"})


def normalise(text: str) -> str | None:
    """Return the code of a language given as a code, tag or English name ("es", "ES", "es-MX", "Spanish"), else None."""
    name = text.strip().lower()
    if name in NAMES:
        return name
    code = CODES.get(name) or OTHER_NAMES.get(name)
    if code is not None:
        return code
    subtag = name.replace("_", "-").partition("-")[0]
    return subtag if subtag in NAMES else OTHER_CODES.get(subtag)
