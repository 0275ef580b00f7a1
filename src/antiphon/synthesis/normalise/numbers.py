"""Spell out the numbers of a text, for models whose vocabulary has letters only (SpeechT5)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType

from num2words import CONVERTER_CLASSES, num2words

_MAX_CARDINAL_DIGITS = 15  # few languages have words for longer numbers
_MIN_CODE_DIGITS = 7  # ungrouped numbers from this length on are read digit by digit, unless they are round

_BROKEN_LANGUAGES = ("am",)  # num2words 0.5.14 raises TypeError for 1,999 and other numbers in Amharic

_Match = re.Match[str]
_Rule = tuple[re.Pattern[str], Callable[[_Match], str]]


@dataclass(frozen=True, slots=True)
class _Currency:
    """Singular and plural of a currency and of its cents, if it has them."""

    one: str
    many: str
    cent: str = ""
    cents: str = ""
    feminine: bool = False


@dataclass(frozen=True, slots=True)
class _Grammar:
    """How a language writes numbers, and the words for the marks in them.

    `whole` is a pattern for the integer part; `marks` maps decimal marks to words. `fractions_by_digit`: "three point one
    four", not "tres coma catorce". `scales` maps the words that may follow a sum of money to their spoken form.
    """

    code: str
    whole: str
    marks: Mapping[str, str]
    minus: str
    percent: str
    to: str
    slash: str
    plus: str = "plus"
    fractions_by_digit: bool = False
    phones: str = r"(?!)"  # matches nothing
    cents_joint: str = ""
    scales: Mapping[str, str] = field(default_factory=dict)
    currencies: Mapping[str, _Currency] = field(default_factory=dict)

    @property
    def fraction(self) -> str:
        return rf"[{''.join(self.marks)}]"

    @property
    def number(self) -> str:
        # Atomic groups: backtracking over a long row of numbers would take minutes.
        return rf"(?>{self.whole})(?>(?:{self.fraction}\d+)*)"


_THIN = r"\u00a0\u2009\u202f"  # spaces used between groups of three digits in any language
_DOT_GROUPS = rf"\d{{1,3}}(?:[.{_THIN}]\d{{3}})+(?!\d)"
_FRENCH_GROUPS = r"\d{1,3}(?: \d{3}){1,4}(?! ?\d)"
_SPACE_GROUPS = r"(?:\d{2,3} \d{3}|\d{1,2}(?: \d{3}){2,4})(?! ?\d)"
_ENGLISH = _Grammar(
    code="en",
    whole=rf"\d{{1,3}}(?:[,{_THIN}]\d{{3}})+(?!\d)|\d+",
    marks={".": "point"},
    minus="minus",
    percent="percent",
    to="to",
    slash="slash",
    fractions_by_digit=True,
    phones=r"\(\d{3}\) ?\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}|\d{3} \d{3} \d{4}",
    cents_joint=" and ",
    scales={"thousand": "thousand", "million": "million", "billion": "billion", "trillion": "trillion"}
    | {"k": "thousand", "m": "million", "b": "billion", "bn": "billion"},
    currencies={
        "$": _Currency("dollar", "dollars", "cent", "cents"),
        "€": _Currency("euro", "euros", "cent", "cents"),
        "£": _Currency("pound", "pounds", "penny", "pence"),
        "¥": _Currency("yen", "yen"),
    },
)
_SPANISH = _Grammar(
    code="es",
    # "1,000.5" and "1,000,000" are Mexican; "1,000" is ambiguous and is read as in Spain.
    whole=rf"{_DOT_GROUPS}|{_SPACE_GROUPS}|\d{{1,3}}(?:,\d{{3}}){{1,4}}(?=\.\d)|\d{{1,3}}(?:,\d{{3}}){{2,4}}(?!,?\d)|\d+",
    marks={",": "coma", ".": "punto"},
    minus="menos",
    percent="por ciento",
    to="a",
    slash="barra",
    plus="más",
    phones=r"\d{3}(?: \d{2}){3}|\d{3} \d{3} \d{3}",
    cents_joint=" con ",
    scales={"mil millones": "mil millones", "mil": "mil", "millón": "millón", "millones": "millones"}
    | {"billón": "billón", "billones": "billones", "m": "millones"},
    currencies={
        "$": _Currency("dólar", "dólares", "centavo", "centavos"),
        "€": _Currency("euro", "euros", "céntimo", "céntimos"),
        "£": _Currency("libra", "libras", "penique", "peniques", feminine=True),
        "¥": _Currency("yen", "yenes"),
    },
)
# Without money, times and ordinals.
_PLAIN_GRAMMARS = (
    _Grammar("fr", rf"{_DOT_GROUPS}|{_FRENCH_GROUPS}|\d+", {",": "virgule"}, "moins", "pour cent", "à", "sur"),
    _Grammar("de", rf"{_DOT_GROUPS}|\d+", {",": "Komma"}, "minus", "Prozent", "bis", "Strich", fractions_by_digit=True),
    _Grammar("it", rf"{_DOT_GROUPS}|\d+", {",": "virgola"}, "meno", "per cento", "a", "barra", "più"),
    _Grammar("pt", rf"{_DOT_GROUPS}|\d+", {",": "vírgula"}, "menos", "por cento", "a", "barra", "mais"),
    _Grammar("nl", rf"{_DOT_GROUPS}|\d+", {",": "komma"}, "min", "procent", "tot", "schuine streep"),
)

_NEXT_WORD = re.compile(r"[^\S\r\n]([^\W\d_]+)")
# Spanish words that a number before them does not count, and nouns whose ending does not show their gender.
_NOT_COUNTED = re.compile(
    r"al?|ante|aún|así|como|con|contra|cuando|del?|desde|donde|el?|ella|en|entre|era|es|está|están|fue|ha|hasta|las?|los?|"
    r"más|menos|mi|ni|no|o|para|pero|por|porque|que|se|según|si|sin|sobre|son|su|también|tras|u|ya?"
)
_MASCULINE_IN_A = re.compile(r"(?:día|mapa|problema|programa|sistema|tema|idioma|clima|planeta|poema)s?")
_FEMININE = re.compile(
    r"\w*as?|\w*(?:[cs]ión|[cs]iones|[dt]ad|[dt]ades|tud|tudes)|veces|mujer(?:es)?|noches?|tardes?|calles?|leyes"
)


def spell_numbers(text: str, language: str) -> str:
    """Replace the numbers of `text` with words of `language`, a code such as "en" or "es-MX".

    English and Spanish: integers, decimals, ordinals, money, percentages, times, ranges, telephone numbers; in English
    years and decades as well. French, German, Italian, Portuguese, Dutch: integers, decimals, percentages, ranges. Other
    languages of num2words: integers only; in all others digits are kept. Very long numbers are read digit by digit.
    """
    base = re.split(r"[-_]", language.lower())[0]
    if base not in CONVERTER_CLASSES or base in _BROKEN_LANGUAGES:
        return text
    text = re.sub(r"\d", lambda digit: str(unicodedata.decimal(digit[0])), text)
    for pattern, say in _RULES.get(base) or _lone_number(base):
        text = pattern.sub(partial(_set_apart, say), text)
    return text


def _set_apart(say: Callable[[_Match], str], match: _Match) -> str:
    """The words, separated by a space from letters next to the digits ("5km"), except in scripts without spaces."""
    start, end = match.span()
    before, after = match.string[max(start - 1, 0) : start], match.string[end : end + 1]
    return " " * _is_spaced_letter(before) + say(match) + " " * _is_spaced_letter(after)


def _is_spaced_letter(character: str) -> bool:
    return character.isalnum() and unicodedata.category(character) != "Lo"


def _cardinal(code: str, digits: str) -> str:
    if len(digits) > _MAX_CARDINAL_DIGITS:
        return _by_digit(code, digits)
    try:
        words = str(num2words(int(digits), lang=code)).replace(",", "")
    except OverflowError:
        return _by_digit(code, digits)
    if code == "es":  # num2words says "veintiuno mil"
        words = re.sub(r"veintiuno(?= m)", "veintiún", words)
        words = re.sub(r"\buno(?= m)", "un", words)
    return words


def _by_digit(code: str, digits: str) -> str:
    return " ".join(_cardinal(code, digit) for digit in digits)


def _plain(code: str, digits: str) -> str:
    """Digits without marks: a year, a code, or an integer."""
    round_number = digits.endswith("000") and len(digits) <= _MAX_CARDINAL_DIGITS
    if len(digits) > 1 and (digits[0] == "0" or (len(digits) >= _MIN_CODE_DIGITS and not round_number)):
        return _by_digit(code, digits)
    if code == "en" and len(digits) == 4 and "1100" <= digits < "2100":
        return str(num2words(int(digits), lang=code, to="year"))
    return _cardinal(code, digits)


def _quantity(grammar: _Grammar, text: str) -> str:
    """A number with its groups and decimals, without a sign."""
    match = re.fullmatch(rf"((?>{grammar.whole}))((?:{grammar.fraction}\d+)*)", text)
    assert match is not None  # the rules match nothing else
    words = _cardinal(grammar.code, re.sub(r"\D", "", match[1]))
    parts = re.findall(r"(\D)(\d+)", match[2])
    # The parts of a version are numbers: "two point ten point one".
    by_digit = grammar.fractions_by_digit and len(parts) == 1
    for mark, digits in parts:
        as_number = len(digits) <= 2 and digits[0] != "0" and not by_digit
        fraction = _cardinal(grammar.code, digits) if as_number else _by_digit(grammar.code, digits)
        words += f" {grammar.marks[mark]} {fraction}"
    return words


def _number(grammar: _Grammar, text: str) -> str:
    return _plain(grammar.code, text) if text.isdecimal() else _quantity(grammar, text)


def _agreeing(words: str, *, feminine: bool) -> str:
    """Spanish number words before what they count: "veintiún años", "doscientas personas"."""
    words = re.sub(r"veintiuno$", "veintiuna" if feminine else "veintiún", words)
    words = re.sub(r"\buno$", "una" if feminine else "un", words)
    return re.sub(r"(?<=ient)os\b", "as", words) if feminine else words


def _counting(words: str, match: _Match) -> str:
    """Spanish number words in agreement with the noun after the number."""
    following = _NEXT_WORD.match(match.string, match.end())
    if following is None or _NOT_COUNTED.fullmatch(noun := following[1].lower()):
        return words
    feminine = _FEMININE.fullmatch(noun) is not None and _MASCULINE_IN_A.fullmatch(noun) is None
    return _agreeing(words, feminine=feminine)


def _say_phone(grammar: _Grammar, match: _Match) -> str:
    groups = ", ".join(_by_digit(grammar.code, group) for group in re.findall(r"\d+", match[0]))
    return f"{grammar.plus} {groups}" if match[0].startswith("+") else groups


def _say_money(grammar: _Grammar, match: _Match) -> str:
    currency = grammar.currencies[match["before"] or match["after"]]
    amount, more, scale = match["amount"], match["more"], grammar.scales.get((match["scale"] or "").lower())
    minus = f"{grammar.minus} " if match["minus"] else ""
    coins = re.fullmatch(rf"(.+){grammar.fraction}(\d\d)", amount)
    if coins is not None and currency.cents and not more and not scale:
        parts = []
        if coins[1].strip("0") or coins[2] == "00":
            parts.append(_counted(grammar, coins[1], currency.one, currency.many, feminine=currency.feminine))
        if coins[2] != "00":
            parts.append(_counted(grammar, coins[2], currency.cent, currency.cents, feminine=False))
        return minus + grammar.cents_joint.join(parts)
    if not more and not scale:
        return minus + _counted(grammar, amount, currency.one, currency.many, feminine=currency.feminine)
    words = _quantity(grammar, amount)
    if more:
        words += f" {grammar.to} {_quantity(grammar, more)}"
    if grammar.code == "es":
        words = _agreeing(words, feminine=currency.feminine and not scale)
    return minus + _of(f"{words} {scale}" if scale else words, currency.many)


def _counted(grammar: _Grammar, amount: str, one: str, many: str, *, feminine: bool) -> str:
    words = _quantity(grammar, amount)
    if grammar.code == "es":
        words = _agreeing(words, feminine=feminine)
    return f"{words} {one}" if amount.lstrip("0") == "1" else _of(words, many)


def _of(words: str, many: str) -> str:
    """Words and unit; Spanish has "millones de euros"."""
    return f"{words} de {many}" if re.search(r"ill(?:ón|ones)$", words) else f"{words} {many}"


def _say_english_time(match: _Match) -> str:
    hour, minute, second = (_cardinal("en", part) if part else "" for part in match.group(1, 2, 3))
    if int(match[2]):
        words = f"{hour} {minute}" if int(match[2]) > 9 else f"{hour} oh {minute}"
    elif match["half"] is not None:
        words = hour
    else:
        words = f"{hour} o'clock" if 1 <= int(match[1]) <= 12 else f"{hour} hundred"
    return f"{words} and {second} second{'s' * (second != 'one')}" if second else words


def _say_spanish_time(match: _Match) -> str:
    hour, minute, second = (_cardinal("es", part) if part else "" for part in match.group(1, 2, 3))
    words = _agreeing(hour, feminine=True)
    if int(match[2]):
        words += f" y {minute}"
    return f"{words} y {_agreeing(second, feminine=False)} segundo{'s' * (second != 'uno')}" if second else words


def _say_english_ordinal(match: _Match) -> str:
    return str(num2words(int(match[1].replace(",", "")), lang="en", to="ordinal")).replace(",", "")


def _say_spanish_ordinal(match: _Match) -> str:
    words = str(num2words(int(match[1]), lang="es", to="ordinal")).replace("quadra", "cuadra")
    words = re.sub(r"décimo ?(?=\w)", "decimo", words)  # num2words says "décimo tercero", and "décimoprimero"
    suffix = match[2] or match[3]
    if suffix[-1] in "aª":
        return re.sub(r"o\b", "a", words)
    return re.sub(r"(primer|tercer)o$", r"\1", words) if suffix == "er" else words


def _say_decade(match: _Match) -> str:
    words = _plain("en", match[1])
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _say_chain(grammar: _Grammar, match: _Match) -> str:
    return f" {grammar.slash} ".join(_plain(grammar.code, part) for part in match[0].split("/"))


def _say_range(grammar: _Grammar, match: _Match) -> str:
    words = f"{_number(grammar, match[1])} {grammar.to} {_number(grammar, match[2])}"
    if match["percent"]:
        return f"{words} {grammar.percent}"
    return _counting(words, match) if grammar.code == "es" else words


def _say_number(grammar: _Grammar, match: _Match) -> str:
    words = (_quantity if match["minus"] or match["percent"] else _number)(grammar, match["number"])
    if match["percent"]:
        words += f" {grammar.percent}"
    elif grammar.code == "es":
        words = _counting(words, match)
    return f"{grammar.minus} {words}" if match["minus"] else words


def _say_lone(code: str, match: _Match) -> str:
    return _plain(code, match[0])


_APART = r"(?<![\w.,])"  # not inside a word or a number
_MINUS = r"(?P<minus>(?<![\w.,)\]%$€£¥])[-−])?"
_TIME = r"(?<![\d:.,])([01]?\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?(?![\d:])(?P<half>(?=\s?[ap]\.?\s?m\b))?"
_ENGLISH_ORDINAL = rf"{_APART}(\d{{1,3}}(?:,\d{{3}}){{1,4}}|\d{{1,15}})(?:st|nd|rd|th)\b"
_SPANISH_ORDINAL = rf"{_APART}(\d{{1,4}})\.?(?:([ºª])(?!\s?[CFK]\b)|(er|era|r[oa]|[dtvmn][oa])\b)"
_DASHES = "[-–]| – "
_GAP = r"[^\S\r\n]"  # a space, but not the end of a line


def _lone_number(code: str) -> tuple[_Rule, ...]:
    """For languages without a grammar here: only digits without marks."""
    return ((re.compile(r"(?<![\d.,:/'’])\d+(?!\d|[.,:/'’]\d)"), partial(_say_lone, code)),)


def _time_rules(to: str, say: Callable[[_Match], str]) -> tuple[_Rule, ...]:
    return (
        (re.compile(r"(?<![\d:.,])(\d{1,2}:\d\d)\s?[-–]\s?(?=\d{1,2}:\d\d)"), lambda match: f"{match[1]} {to}"),
        (re.compile(_TIME, re.IGNORECASE), say),
    )


def _common_rules(grammar: _Grammar, between: str) -> tuple[_Rule, ...]:
    """Telephone numbers, dates and the like, ranges with `between` in the middle, and numbers."""
    number = grammar.number
    abroad = r"\+\d{1,3}(?:[ ()-]{1,2}\d{2,4}){2,4}|\+\d{7,15}"
    phones = rf"{grammar.phones}|{abroad}|\d+(?:-\d+){{2,}}|\d{{3}}-\d{{4}}"
    a_range = rf"{_APART}({number})%?(?:{between})({number})(?P<percent>{_GAP}?%)?"
    return (
        (re.compile(rf"(?<![\w.,-])(?:{phones})(?![\d-])"), partial(_say_phone, grammar)),
        (re.compile(r"(?<![\w.,/])\d+(?:/\d+)+(?!\d)"), partial(_say_chain, grammar)),
        (re.compile(a_range), partial(_say_range, grammar)),
        (re.compile(rf"{_MINUS}(?P<number>{number})(?P<percent>{_GAP}?%)?"), partial(_say_number, grammar)),
    )


def _money_rule(grammar: _Grammar) -> _Rule:
    number = grammar.number
    sign = "|".join(map(re.escape, grammar.currencies))
    amount = rf"(?P<amount>{number})(?:[-–](?:{sign})?(?P<more>{number}))?(?:{_GAP}?(?P<scale>{'|'.join(grammar.scales)})\b)?"
    before, after = rf"(?:(?:\bUS)?(?P<before>{sign}){_GAP}?)", rf"(?:{_GAP}de)?{_GAP}?(?P<after>{sign})(?!\d)"
    pattern = rf"(?<![\d.,]){_MINUS}{before}?{amount}(?(before)|{after})"
    return re.compile(pattern, re.IGNORECASE), partial(_say_money, grammar)


_RULES: Mapping[str, tuple[_Rule, ...]] = MappingProxyType(
    {
        "en": (
            (re.compile(r"(?:\bNo\.\s?|#)(?=\d)"), lambda match: "number"),
            _money_rule(_ENGLISH),
            *_time_rules("to", _say_english_time),
            (re.compile(_ENGLISH_ORDINAL, re.IGNORECASE), _say_english_ordinal),
            (re.compile(r"(?<!\w)['’]?((?:1[1-9]|20)\d0|[2-9]0)s\b"), _say_decade),
            *_common_rules(_ENGLISH, f"{_DASHES}|:"),
        ),
        "es": (
            (re.compile(r"(?:\b[Nn]\.?º\s?|#)(?=\d)"), lambda match: "número"),
            _money_rule(_SPANISH),
            *_time_rules("a", _say_spanish_time),
            (re.compile(_SPANISH_ORDINAL), _say_spanish_ordinal),
            *_common_rules(_SPANISH, f"{_DASHES}|:"),
        ),
    }
    | {grammar.code: _common_rules(grammar, _DASHES) for grammar in _PLAIN_GRAMMARS}
)
