"""Split a text into sentences: none longer than a model accepts, the first one short, all text kept.

The rules are our own: sentencex 1.0.32 gives other boundaries in 17 of the 37 cases of the tests (abbreviations before a
name or a number, closing quotes and brackets, Spanish dialogue dashes, Japanese quotes, lists).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# In characters.
MAX_FIRST_SENTENCE = 80  # about five seconds of speech
MAX_SENTENCE = 240  # about fifteen seconds of speech
_MIN_CLAUSE_FRACTION = 4  # a clause is cut off only if it has a quarter of the limit: a lone "Well," sounds wrong
# Bounds on searches, so that the time stays linear: for a closing bracket, and for the words around a full stop.
_BRACKET_SEARCH = 300
_WORD_SEARCH = 40
_MIN_WRAPPED_LINE = 40  # a line as long as this may have been wrapped at a margin; a shorter one ends on purpose

# Scripts without spaces end a sentence at the mark itself; in others a space has to follow.
_WIDE_STOPS = "。！？｡．"
_STOPS = ".!?…‽؟۔।॥։።၊။។"
_CLOSING = ")\\]}）"
_CLOSERS = rf"\"'”’»›」』】》〉］{_CLOSING}"
_MARK = re.compile(
    rf"(?P<open>[(\[{{（])|(?P<close>[{_CLOSING}])"
    # A Japanese quotation may be inside a longer sentence.
    rf"|(?P<wide>(?<![{_WIDE_STOPS}])[{_WIDE_STOPS}][{_WIDE_STOPS}{_STOPS}]*+[{_CLOSERS}]*+)(?!\d|と|って|[、，])"
    # French puts a space before its closing quote.
    rf"|(?P<stop>(?<![{_STOPS}])[{_STOPS}]++(?:[{_CLOSERS}]|[ \u00a0\u202f]»(?=\s|$))*+)(?=\s|$)"
)
_CLOSING_BRACKET = re.compile(rf"[{_CLOSING}]")
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘«¿¡/–—-]*$")
_NEXT_WORD = re.compile(r"\W*(?P<word>\w[\w'’]*)(?P<dot>\.?)")
_ACRONYM = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}|[^\W\d_]")
_TIME = re.compile(r"\d\s*[ap]\.\s?m$", re.IGNORECASE)
# Where a sentence that is too long is cut, in order of preference: after a mark that almost ends it, after any clause.
_CLAUSES = (
    re.compile(
        rf"[{_WIDE_STOPS}；：][{_CLOSERS}]*|(?:[{_STOPS[1:]};:]|\.\.+)[{_CLOSERS}]*\s+|\s+(?=[–—]\s?\w)|\s+(?=-\s)"
    ),
    re.compile(rf"[、，][{_CLOSERS}]*|[,،][{_CLOSERS}]*\s+|(?<=[–—)\]])\s+|\s+(?=[(\[])"),
)
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class _Abbreviations:
    """The abbreviations of a language, in lower case and without the last dot.

    The dot of one in `before_name` never ends a sentence; of one in `before_number` not if a number follows; of one in
    `anywhere` only if one of `starters` follows, words that often start a sentence. That of "p.m." does, unless a word of
    `after_time` follows. `letters` are words of one letter that are not initials.
    """

    before_name: frozenset[str] = frozenset()
    before_number: frozenset[str] = frozenset()
    anywhere: frozenset[str] = frozenset()
    starters: frozenset[str] = frozenset()
    after_time: frozenset[str] = frozenset()
    letters: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABBREVIATIONS: Mapping[str, _Abbreviations] = MappingProxyType(
    {
        "en": _Abbreviations(
            before_name=_words(
                "mr mrs ms mx dr prof rev fr hon gen col maj capt cmdr lt sgt cpl pvt gov sen rep pres supt messrs st mt ft "
                "vs cf e.g eg i.e viz approx ca resp"
            ),
            before_number=_words(
                "no nos vol vols p pp ch chap sec fig figs eq eqs art par para ref refs ed eds v c circa abt"
            ),
            anywhere=_words(
                "jr sr esq inc ltd co corp llc bros al dept univ assn est ave blvd rd ln hwy apt bldg jan feb mar apr jun "
                "jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun min max hr hrs ft lb lbs oz ph.d"
            ),
            starters=_words(
                "a an the this that these those he she it they we you i my your his her its our their there here who what "
                "when where why how which in on at by for from with as if but and or so yet then now no not one after before "
                "because although while since until however also it's he's she's that's there's i'm we're they're you're let "
                "let's please do does did is are was were can could will would should may might have has had all some many "
                "most"
            ),
            after_time=_words(
                "monday tuesday wednesday thursday friday saturday sunday est edt et cst cdt ct mst mdt mt pst pdt pt gmt "
                "utc bst cet eastern central mountain pacific"
            ),
            letters=_words("i"),
        ),
        "es": _Abbreviations(
            before_name=_words(
                "sr sra srta sres sras dr dra dres prof profa lic ing arq dña gral cnel cap tte sgto mons hno hna sto sta "
                "pbro excmo excma ilmo ilma ej p.ej cf vs aprox av avda pl pza ctra"
            ),
            before_number=_words(
                "no núm núms nº n pág págs p pp art arts cap caps vol vols fig figs tel tfno ap apdo cód"
            ),
            anywhere=_words(
                "ud uds vd vds ee uu jr cía rr hh ff aa dpto depto admón ene feb mar abr may jun jul ago sept oct nov dic "
                "lun mié jue vie sáb dom min máx mín seg hrs"
            ),
            starters=_words(
                "el la los las un una unos unas este esta estos estas ese esa esos esas aquel aquella yo tú él ella ello "
                "nosotros ustedes ellos ellas usted mi tu su nuestro nuestra en a al de del por para con sin sobre según "
                "desde hasta y e o u pero sino si no ni que qué quién cómo cuándo cuánto dónde cuando donde como porque "
                "aunque mientras también además entonces ahora hoy ayer luego después antes así se me te le les nos hay "
                "es son era fue está están todo todos muchos"
            ),
        ),
        "fr": _Abbreviations(
            before_name=_words("mm mme mmes mlle mlles dr pr me mgr st ste cf av bd ex"),
            before_number=_words("n no p pp vol chap fig art env"),
            anywhere=_words("janv févr juil sept oct nov déc j.-c"),
            starters=_words(
                "le la les un une des ce cet cette ces je tu il elle on nous vous ils elles mais et dans en"
            ),
        ),
        "de": _Abbreviations(
            before_name=_words("hr fr dr prof st z.b d.h u.a bzw ca vgl evtl ggf inkl sog"),
            before_number=_words("nr bd s abb kap art"),
            anywhere=_words("usw etc str jan feb mär apr aug sept okt nov dez jh chr"),
            starters=_words("der die das ein eine er sie es wir ihr ich du aber und in im am auf mit nach dann"),
        ),
        "it": _Abbreviations(
            before_name=_words("sig sigg sig.ra dott dott.ssa prof ing avv arch on cfr es ca"),
            before_number=_words("n p pp vol cap fig art"),
            anywhere=_words("s.p.a s.r.l"),
            starters=_words("il lo la i gli le un una questo questa ma e in a per con non io lui lei noi voi loro"),
        ),
        "pt": _Abbreviations(
            before_name=_words("sr sra srta dr dra prof profa eng av cf ex aprox"),
            before_number=_words("n nº núm p pp pág vol cap fig art"),
            anywhere=_words("ltda"),
            starters=_words(
                "o a os as um uma este esta isso ele ela nós vocês eles elas mas e em no na para com não se"
            ),
        ),
    }
)
_NO_ABBREVIATIONS = _Abbreviations()
# Languages that write ordinals as a number with a dot: "am 3. Oktober".
_DOTTED_ORDINALS = _words("de da no nb nn fi cs sk sl hr sr bs pl hu et lv tr is fo eu")


def split_sentences(
    text: str, language: str, *, max_first: int = MAX_FIRST_SENTENCE, max_length: int = MAX_SENTENCE
) -> list[str]:
    """Split `text` into sentences, in order and trimmed; none is empty.

    The end of a line ends a sentence, unless the line is long and the next one continues in lower case; marks without a
    word are joined to the sentence before. A sentence longer than `max_length` characters is cut at a clause, else between
    words, else anywhere; a first sentence longer than `max_first` is cut at a clause, if it has one. `language` is a code
    such as "en" or "es-MX"; in languages without a table here, no word counts as an abbreviation.
    """
    if min(max_first, max_length) < 1:
        raise ValueError("A sentence needs a limit of at least one character.")
    base = re.split(r"[-_]", language.lower())[0]
    abbreviations = _ABBREVIATIONS.get(base, _NO_ABBREVIATIONS)
    groups: list[list[str]] = [[]]
    words_seen = False
    for line in _unwrap(text):
        for sentence in _split_line(re.sub(r"[ \t]+", " ", line), abbreviations, base in _DOTTED_ORDINALS):
            has_word = any(character.isalnum() for character in sentence)
            if words_seen and has_word:
                groups.append([])
            words_seen = words_seen or has_word
            groups[-1].append(sentence)
    sentences = [" ".join(group) for group in groups if group]
    sentences[:1] = [part for sentence in sentences[:1] for part in _shorten_first(sentence, max_first, max_length)]
    return [part for sentence in sentences for part in _cut(sentence, max_length)]


def _unwrap(text: str) -> list[str]:
    """The lines of a text, with wrapped lines joined: a long line whose next one continues in lower case."""
    lines: list[str] = []
    for line in text.splitlines():
        last = lines[-1].rstrip() if lines else ""
        if len(last) >= _MIN_WRAPPED_LINE and line.lstrip()[:1].islower() and last[-1] not in _STOPS + _WIDE_STOPS:
            lines[-1] = f"{last} {line}"
        else:
            lines.append(line)
    return lines


def _split_line(line: str, abbreviations: _Abbreviations, dotted_ordinals: bool) -> Iterator[str]:
    # A lower-case word after a full stop says nothing in a text without capitals.
    capitals = line != line.lower()
    start = 0
    depth = 0  # of the open brackets; a full stop inside them does not end the sentence
    for mark in _MARK.finditer(line):
        if mark["open"]:
            inside = line[start : min(mark.start(), start + 2)].strip() != ""
            depth += inside and _CLOSING_BRACKET.search(line, mark.end(), mark.end() + _BRACKET_SEARCH) is not None
            continue
        depth = max(0, depth - sum(character in _CLOSING for character in mark[0]))
        if depth or mark["close"]:
            continue
        before = line[max(start, mark.start() - _WORD_SEARCH) : mark.start()]
        after = line[mark.end() : mark.end() + _WORD_SEARCH]
        if mark["wide"] or _ends(before, mark["stop"], after, abbreviations, capitals, dotted_ordinals):
            yield line[start : mark.end()].strip()
            start = mark.end()
    if rest := line[start:].strip():
        yield rest


def _ends(
    before: str, stop: str, after: str, abbreviations: _Abbreviations, capitals: bool, dotted_ordinals: bool
) -> bool:
    """True if `stop` ends a sentence, and not an abbreviation or a quotation inside one."""
    word = _LAST_WORD.findall(before)[0]
    following = _NEXT_WORD.match(after)
    if following is None:
        return True
    next_word = following["word"]
    if capitals and next_word[0].islower():
        return False
    if stop[0] != "." or stop[1:2] == ".":
        return True
    lower, next_lower = word.lower(), next_word.lower()
    initial_next = len(next_word) == 1 and following["dot"] == "."
    if lower in abbreviations.before_name or (lower in abbreviations.before_number and next_word[0].isdecimal()):
        return False
    if _TIME.search(before):
        return next_lower not in abbreviations.after_time
    if lower in abbreviations.letters and word.isupper():
        return not initial_next
    if lower in abbreviations.anywhere or _ACRONYM.fullmatch(word):
        return next_lower in abbreviations.starters and not initial_next
    if word.isdecimal() and len(word) <= 3:
        # The number of a list item, or an ordinal.
        return not (
            word == before.strip() or (dotted_ordinals and len(word) <= 2 and next_lower not in abbreviations.starters)
        )
    return True


def _shorten_first(sentence: str, max_first: int, max_length: int) -> list[str]:
    """The first sentence, cut in two at a clause if it is longer than `max_first` and both parts are long enough."""
    if len(sentence) <= max_first:
        return [sentence]
    least = max(1, max_first // _MIN_CLAUSE_FRACTION)
    ends = [match.end() for clause in _CLAUSES for match in clause.finditer(sentence, 0, max_length + 1)]
    cuts = [end for end in ends if least <= end <= len(sentence) - least]
    if not cuts:
        return [sentence]
    cut = max((cut for cut in cuts if cut <= max_first + 1), default=min(cuts))
    return [sentence[:cut].rstrip(), sentence[cut:].lstrip()]


def _cut(sentence: str, max_length: int) -> Iterator[str]:
    while len(sentence) > max_length:
        cut = _choose_cut(sentence, max_length)
        yield sentence[:cut].rstrip()
        sentence = sentence[cut:].lstrip()
    yield sentence


def _choose_cut(sentence: str, max_length: int) -> int:
    """The cut closest to parts of equal length. It may be one past `max_length` if a space ends the first part."""
    ideal = len(sentence) / math.ceil(len(sentence) / max_length)
    for pattern, least in (*((clause, max_length // _MIN_CLAUSE_FRACTION) for clause in _CLAUSES), (_SPACES, 1)):
        matches = pattern.finditer(sentence, 0, max_length + 1)
        cuts = [match.end() for match in matches if match.end() >= max(least, 1)]
        if cuts:
            return min(cuts, key=lambda cut: abs(cut - ideal))
    cut = max_length
    while cut > 1 and unicodedata.category(sentence[cut])[0] == "M":  # do not separate an accent from its letter
        cut -= 1
    return cut if cut > 1 else max_length
