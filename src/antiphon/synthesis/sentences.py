"""A text becomes the sentences it is spoken in: none too long for a model, the first short, no word lost or doubled.

Pure text; it must not know voices, models, units or audio.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

FIRST_LONGEST = 80  # characters; about five seconds of speech
LONGEST = 240  # characters; about fifteen seconds of speech
_LEAST = 4  # a part cut off at a clause has at least this part of the limit: a lone "Well," makes no sentence
# How far is looked, so that no text takes long: for the end of a bracket, and around a full stop.
_BRACKET_REACH = 300
_WORD_REACH = 40
_WRAPPED = 40  # characters; a line as long as this may have been broken at a margin, a shorter one was meant to end

# Scripts without spaces end a sentence at the mark itself; elsewhere a space has to follow.
_WIDE_STOPS = "。！？｡．"
_STOPS = ".!?…‽؟۔।॥։።၊။។"
_CLOSING = ")\\]}）"
_CLOSERS = rf"\"'”’»›」』】》〉］{_CLOSING}"
_MARK = re.compile(
    rf"(?P<open>[(\[{{（])|(?P<close>[{_CLOSING}])"
    # A Japanese quote may be the middle of its sentence.
    rf"|(?P<wide>(?<![{_WIDE_STOPS}])[{_WIDE_STOPS}][{_WIDE_STOPS}{_STOPS}]*+[{_CLOSERS}]*+)(?!\d|と|って|[、，])"
    # French puts a space before its closing quote.
    rf"|(?P<stop>(?<![{_STOPS}])[{_STOPS}]++(?:[{_CLOSERS}]|[ \u00a0\u202f]»(?=\s|$))*+)(?=\s|$)"
)
_CLOSING_BRACKET = re.compile(rf"[{_CLOSING}]")
_LAST_WORD = re.compile(r"[^\s(\[{\"'“‘«¿¡/–—-]*$")
_NEXT_WORD = re.compile(r"\W*(?P<word>\w[\w'’]*)(?P<dot>\.?)")
_ACRONYM = re.compile(r"(?:[^\W\d_]{1,2}\.)+[^\W\d_]{1,2}|[^\W\d_]")
_TIME = re.compile(r"\d\s*[ap]\.\s?m$", re.IGNORECASE)
# Where a sentence that is too long is cut, best first: behind what nearly ends one, and behind any other clause.
_CLAUSES = (
    re.compile(
        rf"[{_WIDE_STOPS}；：][{_CLOSERS}]*|(?:[{_STOPS[1:]};:]|\.\.+)[{_CLOSERS}]*\s+|\s+(?=[–—]\s?\w)|\s+(?=-\s)"
    ),
    re.compile(rf"[、，][{_CLOSERS}]*|[,،][{_CLOSERS}]*\s+|(?<=[–—)\]])\s+|\s+(?=[(\[])"),
)
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class _Habits:
    """The words of a language, in lower case and without the last dot, whose full stop is no end.

    After one of `before_name` a name follows, whatever it begins with; after one of `before_number` it is no end if a
    number follows; one of `anywhere` ends a sentence if one of `starters`, words that often begin one, comes next. "p.m."
    does unless one of `after_time` does. `letters` are the words of one letter that are no initials.
    """

    before_name: frozenset[str] = frozenset()
    before_number: frozenset[str] = frozenset()
    anywhere: frozenset[str] = frozenset()
    starters: frozenset[str] = frozenset()
    after_time: frozenset[str] = frozenset()
    letters: frozenset[str] = frozenset()


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_HABITS: Mapping[str, _Habits] = MappingProxyType(
    {
        "en": _Habits(
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
        "es": _Habits(
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
        "fr": _Habits(
            before_name=_words("mm mme mmes mlle mlles dr pr me mgr st ste cf av bd ex"),
            before_number=_words("n no p pp vol chap fig art env"),
            anywhere=_words("janv févr juil sept oct nov déc j.-c"),
            starters=_words(
                "le la les un une des ce cet cette ces je tu il elle on nous vous ils elles mais et dans en"
            ),
        ),
        "de": _Habits(
            before_name=_words("hr fr dr prof st z.b d.h u.a bzw ca vgl evtl ggf inkl sog"),
            before_number=_words("nr bd s abb kap art"),
            anywhere=_words("usw etc str jan feb mär apr aug sept okt nov dez jh chr"),
            starters=_words("der die das ein eine er sie es wir ihr ich du aber und in im am auf mit nach dann"),
        ),
        "it": _Habits(
            before_name=_words("sig sigg sig.ra dott dott.ssa prof ing avv arch on cfr es ca"),
            before_number=_words("n p pp vol cap fig art"),
            anywhere=_words("s.p.a s.r.l"),
            starters=_words("il lo la i gli le un una questo questa ma e in a per con non io lui lei noi voi loro"),
        ),
        "pt": _Habits(
            before_name=_words("sr sra srta dr dra prof profa eng av cf ex aprox"),
            before_number=_words("n nº núm p pp pág vol cap fig art"),
            anywhere=_words("ltda"),
            starters=_words(
                "o a os as um uma este esta isso ele ela nós vocês eles elas mas e em no na para com não se"
            ),
        ),
    }
)
_NO_HABITS = _Habits()
# Where a number with a dot is "the third": "am 3. Oktober".
_DOTTED_ORDINALS = _words("de da no nb nn fi cs sk sl hr sr bs pl hu et lv tr is fo eu")


def split_sentences(
    text: str, language: str, *, first_longest: int = FIRST_LONGEST, longest: int = LONGEST
) -> list[str]:
    """The sentences of `text`, in order and trimmed; none is empty.

    The end of a line ends one, unless the line is long and the next goes on in lower case; marks without a word go with the
    sentence before. One longer than `longest` characters is cut at a clause, else between words, else anywhere. A first one
    longer than `first_longest` is cut at a clause, if it has one. `language` is a code such as "en" or "es-MX"; to one that
    is not known here, no word is an abbreviation.
    """
    if min(first_longest, longest) < 1:
        raise ValueError("A sentence needs a limit of at least one character.")
    base = re.split(r"[-_]", language.lower())[0]
    habits = _HABITS.get(base, _NO_HABITS)
    groups: list[list[str]] = [[]]
    spoken = False
    for line in _unwrapped(text):
        for sentence in _split_line(re.sub(r"[ \t]+", " ", line), habits, base in _DOTTED_ORDINALS):
            has_word = any(character.isalnum() for character in sentence)
            if spoken and has_word:
                groups.append([])
            spoken = spoken or has_word
            groups[-1].append(sentence)
    sentences = [" ".join(group) for group in groups if group]
    sentences[:1] = [part for sentence in sentences[:1] for part in _begin_short(sentence, first_longest, longest)]
    return [part for sentence in sentences for part in _cut(sentence, longest)]


def _unwrapped(text: str) -> list[str]:
    """The lines of a text, those joined that only a margin parts: a long one that goes on in lower case."""
    lines: list[str] = []
    for line in text.splitlines():
        begun = lines[-1].rstrip() if lines else ""
        if len(begun) >= _WRAPPED and line.lstrip()[:1].islower() and begun[-1] not in _STOPS + _WIDE_STOPS:
            lines[-1] = f"{begun} {line}"
        else:
            lines.append(line)
    return lines


def _split_line(line: str, habits: _Habits, dotted_ordinals: bool) -> Iterator[str]:
    # People who write no capitals at all still write full stops.
    capitals = line != line.lower()
    start = 0
    depth = 0  # of the brackets that opened inside this sentence: what ends in there is not its end
    for mark in _MARK.finditer(line):
        if mark["open"]:
            inside = line[start : min(mark.start(), start + 2)].strip() != ""
            depth += inside and _CLOSING_BRACKET.search(line, mark.end(), mark.end() + _BRACKET_REACH) is not None
            continue
        depth = max(0, depth - sum(character in _CLOSING for character in mark[0]))
        if depth or mark["close"]:
            continue
        before = line[max(start, mark.start() - _WORD_REACH) : mark.start()]
        after = line[mark.end() : mark.end() + _WORD_REACH]
        if mark["wide"] or _ends(before, mark["stop"], after, habits, capitals, dotted_ordinals):
            yield line[start : mark.end()].strip()
            start = mark.end()
    if rest := line[start:].strip():
        yield rest


def _ends(before: str, stop: str, after: str, habits: _Habits, capitals: bool, dotted_ordinals: bool) -> bool:
    """Whether `stop` is the end of a sentence, rather than of an abbreviation or of a quote inside it."""
    word = _LAST_WORD.findall(before)[0]
    following = _NEXT_WORD.match(after)
    if following is None:
        return True
    next_word = following["word"]
    if capitals and next_word[0].islower():
        return False
    if stop[0] != "." or stop[1:2] == ".":
        return True
    known, next_known = word.lower(), next_word.lower()
    initial_next = len(next_word) == 1 and following["dot"] == "."
    if known in habits.before_name or (known in habits.before_number and next_word[0].isdecimal()):
        return False
    if _TIME.search(before):
        return next_known not in habits.after_time
    if known in habits.letters and word.isupper():
        return not initial_next
    if known in habits.anywhere or _ACRONYM.fullmatch(word):
        return next_known in habits.starters and not initial_next
    if word.isdecimal() and len(word) <= 3:
        # The number of a paragraph, or an ordinal.
        return not (
            word == before.strip() or (dotted_ordinals and len(word) <= 2 and next_known not in habits.starters)
        )
    return True


def _begin_short(sentence: str, first_longest: int, longest: int) -> list[str]:
    """The sentence, in two if it is longer than a first one should be and has a clause that can stand alone."""
    if len(sentence) <= first_longest:
        return [sentence]
    least = max(1, first_longest // _LEAST)
    found = [match.end() for clause in _CLAUSES for match in clause.finditer(sentence, 0, longest + 1)]
    places = [place for place in found if least <= place <= len(sentence) - least]
    if not places:
        return [sentence]
    place = max((place for place in places if place <= first_longest + 1), default=min(places))
    return [sentence[:place].rstrip(), sentence[place:].lstrip()]


def _cut(sentence: str, longest: int) -> Iterator[str]:
    while len(sentence) > longest:
        place = _cutting_place(sentence, longest)
        yield sentence[:place].rstrip()
        sentence = sentence[place:].lstrip()
    yield sentence


def _cutting_place(sentence: str, longest: int) -> int:
    """The place that comes nearest to parts of equal length; a space that ends the first part may lie beyond `longest`."""
    ideal = len(sentence) / math.ceil(len(sentence) / longest)
    for pattern, least in (*((clause, longest // _LEAST) for clause in _CLAUSES), (_SPACES, 1)):
        places = [match.end() for match in pattern.finditer(sentence, 0, longest + 1) if match.end() >= max(least, 1)]
        if places:
            return min(places, key=lambda place: abs(place - ideal))
    place = longest
    while place > 1 and unicodedata.category(sentence[place])[0] == "M":  # an accent belongs to the letter before
        place -= 1
    return place if place > 1 else longest
