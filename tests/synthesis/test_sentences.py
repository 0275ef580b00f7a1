"""Sentence splitting: boundaries by language, length limits, and no word lost or doubled."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.synthesis.sentences import MAX_SENTENCE, split_sentences

# The expected sentences; the input is all of them joined with spaces.
WHOLE = [
    ("en", ["Hello there.", "How are you?", "Fine!", "So am I."]),
    ("en", ["Mr. Smith met Dr. Jones and Mrs. Brown.", "They talked to Prof. White."]),
    ("en", ["Bring fruit, e.g. Apples.", "Leave early, i.e. Now.", "It was Smith vs. Jones."]),
    ("en", ["I live in the U.S. and like it.", "She is from the U.S.", "It is big."]),
    ("en", ["The U.S. Army came.", "Washington, D.C. is a city.", "He has a Ph.D. in physics."]),
    ("en", ["We left at 10:30 a.m. and came at 5 p.m.", "Nobody saw us.", "Come at 5 p.m. Monday.", "Maria left at 6 a.m."]),
    ("en", ["I. M. Pei built it.", "George W. Bush did not.", "J. A. Smith did.", "So did I.", "It is done."]),
    ("en", ["Pi is 3.14 or so.", "It costs $1,000.5 today.", "Use version 2.3.1.", "It works with 1.0."]),
    ("en", ["See https://example.com/a.b?c=d.e for more.", "Write to a.b@example.com.", "Then wait."]),
    ("en", ["Wait... what?", "Well… perhaps.", "I see...", "Then go."]),
    ("en", ['He said "Stop!" and left.', '"Come in."', "She did.", "(He was late.)", "“Why?” he asked.", "“Because.”", "Oh."]),
    ("en", ["He came (I saw it. Really.) and left.", "She stayed (I think).", "Good [see p. 5].", "(We wait.", "You go.)"]),
    ("en", ["See No. 5 and p. 12 in vol. 3.", "Did you?", "No.", "I did not."]),
    ("en", ["Really?!", "Yes!!!", "It opened in 1999.", "5 people came.", "Apples, pears, etc.", "Bananas too."]),
    ("en", ["Acme Inc. Shares fell at Smith & Co. in Jan. 2020.", "He is John Smith Jr.", "He is old."]),
    ("en", ["i write no capitals.", "i do write full stops.", "see e.g. this."]),
    ("en", ["The winner was number 7.", "Everyone cheered.", "Yahoo! is a company."]),
    ("es", ["El Sr. Pérez y la Sra. López son amigos.", "La Dra. Ruiz no.", "El Prof. Gil tampoco."]),
    ("es", ["¿Qué hora es?", "¡Vamos!", "Compra fruta, p. ej. manzanas.", "Son las 10 a. m.", "Comieron a las 3 p.m.", "Y ya."]),
    ("es", ["EE. UU. es grande.", "Vive en EE. UU.", "El resto no.", "Vive en la Avda. Sol n.º 5.", "Véase la pág. 12."]),
    ("es", ["Cuesta 1.000,50 euros.", "Pi es 3,14.", "Fue en el s. XX.", "—¿Vienes? —preguntó Ana.", "—No.", "«Bien.»", "Fin."]),
    ("es", ["Pregunte Ud. mañana.", "Espero a Uds.", "No tarden.", "Nació en 1999.", "Murió joven."]),
    ("fr", ["« Bonjour ! » dit-il.", "« Entrez. »", "M. Dupont et Mme. Durand sont là.", "Quoi ?", "Rien."]),
    ("de", ["Am 3. Oktober war es.", "Das ist z. B. Berlin.", "Er kam um 12.", "Dann ging er.", "Dr. Maier blieb."]),
    ("it", ["Il Sig. Rossi è qui.", "La Dott.ssa Bianchi no.", "Perché?"]),
    ("pt", ["O Sr. Silva chegou.", "A Dra. Costa não.", "Por quê?"]),
    ("hi", ["मैं ठीक हूँ।", "आप कैसे हैं?"]),
    ("ar", ["كيف حالك؟", "أنا بخير."]),
    ("ru", ["Привет.", "Как дела?", "Хорошо!"]),
    ("xx", ["Nobody knows this language.", "It has sentences."]),
]  # fmt: skip


@pytest.mark.parametrize(("language", "sentences"), WHOLE)
def test_sentence_boundaries(language: str, sentences: list[str]) -> None:
    assert split_sentences(" ".join(sentences), language) == sentences


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("zh", ["你好。", "今天天气很好！", "你呢？", "“好的。”", "他说。", "圆周率是３．１４。"]),
        ("ja", ["こんにちは。", "「好きです。」と言った。", "「うん。」", "彼は笑った。", "元気ですか？"]),
    ],
)
def test_sentence_boundaries_in_scripts_without_spaces(language: str, sentences: list[str]) -> None:
    assert split_sentences("".join(sentences), language) == sentences


@pytest.mark.parametrize("language", ["EN", "en-US", "en_GB"])
def test_language_with_region_uses_the_same_rules(language: str) -> None:
    assert split_sentences("Mr. Smith came. He left.", language) == ["Mr. Smith came.", "He left."]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", " \n\t\n ", "\u2028", "\u2029"])
def test_line_end_is_a_sentence_boundary(end: str) -> None:
    assert split_sentences(f"A title{end}The text, e.g.{end}this.{end}", "en") == ["A title", "The text, e.g.", "this."]


def test_numbered_lines_keep_their_numbers() -> None:
    assert split_sentences("1. Open the door.\n2. Go in. Sit.", "en") == ["1. Open the door.", "2. Go in.", "Sit."]


def test_marks_without_a_word_are_joined_to_a_sentence() -> None:
    assert split_sentences("* * *\nHello. 🙂 ...\n---\nBye.", "en") == ["* * * Hello. 🙂 ... ---", "Bye."]
    assert split_sentences(" ... ", "en") == ["..."]


@pytest.mark.parametrize("text", ["", " ", "\n\n", "\t \u00a0"])
def test_blank_text_has_no_sentences(text: str) -> None:
    assert split_sentences(text, "en") == []


def test_unclosed_bracket_does_not_join_sentences() -> None:
    assert split_sentences("It is :( today. We wait. Then go.", "en") == ["It is :( today.", "We wait.", "Then go."]


FOX = "The quick brown fox, which was tired, jumped over the dog; the dog slept, as dogs do, and never knew (or cared)."


def test_long_first_sentence_is_cut_at_its_last_clause_within_the_limit() -> None:
    head, rest = FOX[:37], FOX[38:]
    assert head.endswith("tired,")
    assert split_sentences(f"{FOX} {FOX}", "en", max_first=50) == [head, rest, FOX]
    assert split_sentences(FOX, "en", max_first=60)[0] == "The quick brown fox, which was tired, jumped over the dog;"


def test_first_sentence_is_not_cut_between_words_or_too_short() -> None:
    plain = "The quick brown fox jumped over the lazy dog that slept in the shade of the old tree."
    assert split_sentences(plain, "en", max_first=40) == [plain]
    assert split_sentences("Oh, " + plain, "en", max_first=40) == ["Oh, " + plain]
    assert split_sentences(plain[:-1] + ", too.", "en", max_first=40) == [plain[:-1] + ", too."]
    late = plain[:-1] + ", which is where dogs like to be."
    assert split_sentences(late, "en", max_first=40) == [plain[:-1] + ",", "which is where dogs like to be."]


def test_long_sentence_is_cut_at_clauses_into_even_parts() -> None:
    assert split_sentences("Listen. " + FOX, "en", max_length=100) == [
        "Listen.",
        "The quick brown fox, which was tired, jumped over the dog;",
        "the dog slept, as dogs do, and never knew (or cared).",
    ]
    assert split_sentences("啊。一二三四五，六七八九十，一二三四五。", "zh", max_length=12) == [
        "啊。",
        "一二三四五，",
        "六七八九十，一二三四五。",
    ]


def test_long_sentence_without_clauses_is_cut_between_words_or_anywhere() -> None:
    assert split_sentences("one two three four", "en", max_length=9) == ["one two", "three", "four"]
    assert split_sentences("abcdefghij", "en", max_length=4) == ["abcd", "efgh", "ij"]
    accents = "e\u0301" * 6
    assert split_sentences(accents, "en", max_length=3) == ["e\u0301"] * 6


@pytest.mark.parametrize(("max_first", "max_length"), [(0, 10), (10, 0), (-1, -1)])
def test_limit_below_one_character_raises(max_first: int, max_length: int) -> None:
    with pytest.raises(ValueError, match="at least one character"):
        split_sentences("Hello.", "en", max_first=max_first, max_length=max_length)


VOCABULARY = """Hello world. the The fox, jumped Mr. Dr. e.g. U.S. a.m. 10 3.14 1,000.5 v2.3.1 https://a.b/c?d=e What? Yes!
    (so) (He left.) [ok] “Hi.” ‘no’ «sí» ¿Qué? ¡Ah! J. I. I — - -- ... Wait… etc. No. 5. p. 12; then: and / & * 🙂 Sr. EE. UU.
    n.º años. :) :( ( ) " ' Привет. 你好。 今天，好！ हूँ। supercalifragilistic"""
WORDS = st.sampled_from(VOCABULARY.split())
SPACES = st.sampled_from([" ", " ", " ", " ", "  ", "\n", "\n\n", "\t", "\u00a0"])
TEXTS = st.lists(st.tuples(WORDS, SPACES), max_size=80).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)
LANGUAGES = st.sampled_from(["en", "es", "fr", "de", "zh", "ja", "xx"])


@settings(derandomize=True, deadline=None, max_examples=400)
@given(TEXTS, LANGUAGES, st.integers(21, 300), st.integers(0, 200))
def test_no_word_is_lost_doubled_or_cut(text: str, language: str, max_first: int, more: int) -> None:
    """No word is longer than the limits; Chinese is cut without spaces, so they are not compared."""
    sentences = split_sentences(text, language, max_first=max_first, max_length=max_first + more)
    if "。" not in text and "，" not in text:
        assert " ".join(sentences).split() == text.split()
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(sentence == sentence.strip() != "" for sentence in sentences)
    assert all(len(sentence) <= max_first + more for sentence in sentences)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.text(max_size=200), LANGUAGES, st.integers(1, 40))
def test_any_text_keeps_its_characters(text: str, language: str, max_length: int) -> None:
    sentences = split_sentences(text, language, max_length=max_length)
    assert "".join("".join(sentences).split()) == "".join(text.split())
    assert all(0 < len(sentence) <= max_length for sentence in sentences)


@settings(derandomize=True, deadline=None, max_examples=400)
@given(TEXTS, LANGUAGES)
def test_splitting_is_idempotent(text: str, language: str) -> None:
    """Each sentence stays whole when split again, with the limit of the first sentence raised.

    Except one without capitals from a text with some: "a. b." is one sentence in "a. b. Then.", and two on its own.
    """
    for sentence in split_sentences(text, language, max_first=MAX_SENTENCE):
        if sentence == sentence.lower() and text != text.lower():
            continue
        assert split_sentences(sentence, language, max_first=MAX_SENTENCE) == [sentence]


@pytest.mark.parametrize(
    "piece", [". ", "(", "a. ", '"a. ', ".", "? ", "a, ", "- ", "…\u00a0", "Dr. ", "。", "\u0301", "( a. b "]
)
def test_time_is_linear_in_the_text(piece: str) -> None:
    """Takes about a second; minutes with a quadratic step."""
    text = piece * (100_000 // len(piece)) + "x"
    started = time.process_time()
    sentences = split_sentences(text, "en")
    assert time.process_time() - started < 15
    assert "".join("".join(sentences).split()) == "".join(text.split())


def test_wrapped_lines_are_joined() -> None:
    wrapped = "This is a line that somebody broke at a margin\nand that goes on here. And so does\nNot this one."
    assert split_sentences(wrapped, "en") == [
        "This is a line that somebody broke at a margin and that goes on here.",
        "And so does",
        "Not this one.",
    ]
    assert split_sentences("apples\npears\nplums", "en") == ["apples", "pears", "plums"]
