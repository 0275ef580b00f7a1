"""Numbers in words. The expectations were written by hand."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.synthesis.normalise.numbers import spell_numbers

ENGLISH = [
    # whole numbers
    ("I have 0 cats, 7 dogs and 21 birds.", "I have zero cats, seven dogs and twenty-one birds."),
    ("101 or 1,234,567", "one hundred and one or one million two hundred and thirty-four thousand five hundred and sixty-seven"),
    ("1,000 and 10\u202f000", "one thousand and ten thousand"),
    ("1000000 or 25000000", "one million or twenty-five million"),
    ("-5 or −40 degrees", "minus five or minus forty degrees"),
    ("COVID-19 and 3-D", "COVID-nineteen and three-D"),
    # decimals and versions
    ("3.14, 0.5 and 10.05.", "three point one four, zero point five and ten point zero five."),
    ("1,000.5", "one thousand point five"),
    ("version 2.10.1", "version two point ten point one"),
    # years
    ("1999, 1900 and 1905", "nineteen ninety-nine, nineteen hundred and nineteen oh-five"),
    ("2000, 2005 and 2024", "two thousand, two thousand and five and twenty twenty-four"),
    ("1066 and 2100", "one thousand and sixty-six and two thousand one hundred"),
    ("1,999 people", "one thousand nine hundred and ninety-nine people"),
    ("the 1990s, the '80s and the 2000s", "the nineteen nineties, the eighties and the two thousands"),
    # ordinals
    ("1st, 2nd, 3rd, 11th and 21st", "first, second, third, eleventh and twenty-first"),
    ("the 100th and the 1,001ST", "the one hundredth and the one thousand and first"),
    # money
    ("$5.20", "five dollars and twenty cents"),
    ("$1 or $1.01 or $0.99 or $2.00", "one dollar or one dollar and one cent or ninety-nine cents or two dollars"),
    ("It costs $0.00.", "It costs zero dollars."),
    ("£3.01, 5 € and ¥500", "three pounds and one penny, five euros and five hundred yen"),
    ("€1,234.56", "one thousand two hundred and thirty-four euros and fifty-six cents"),
    ("$5 million, $2.5bn, US$20k", "five million dollars, two point five billion dollars, twenty thousand dollars"),
    ("-$5 or $5-10 or $5-$10", "minus five dollars or five to ten dollars or five to ten dollars"),
    ("5 $10 notes", "five ten dollars notes"),
    ("Take 5\n$10 is enough", "Take five\nten dollars is enough"),
    ("$1999", "one thousand nine hundred and ninety-nine dollars"),
    # percentages and ranges
    ("5%, 3.5 % and -2%", "five percent, three point five percent and minus two percent"),
    ("3-5, 3–5 and 10 – 12 people", "three to five, three to five and ten to twelve people"),
    ("3-5% or 3%-5%", "three to five percent or three to five percent"),
    ("from 1999-2005", "from nineteen ninety-nine to two thousand and five"),
    ("a 16:9 screen", "a sixteen to nine screen"),
    ("24/7 on 5/17/2024", "twenty-four slash seven on five slash seventeen slash twenty twenty-four"),
    # times
    ("10:30, 10:05 and 14:45", "ten thirty, ten oh five and fourteen forty-five"),
    ("10:00, 10:00 a.m., 9:30pm, 14:00", "ten o'clock, ten a.m., nine thirty pm, fourteen hundred"),
    ("10:30-11:00", "ten thirty to eleven o'clock"),
    ("1:02:03 and 1:02:01", "one oh two and three seconds and one oh two and one second"),
    # digit by digit
    ("Call 555-1234.", "Call five five five, one two three four."),
    ("(555) 123-4567", "five five five, one two three, four five six seven"),
    ("555-123-4567", "five five five, one two three, four five six seven"),
    ("+34 612 345 678", "plus three four, six one two, three four five, six seven eight"),
    ("007 and 8675309", "zero zero seven and eight six seven five three zero nine"),
    ("1234567890123456", "one two three four five six seven eight nine zero one two three four five six"),
    # against letters
    ("5km, H2O, v2 and No. 5 or #7", "five km, H two O, v two and number five or number seven"),
    ("３ and ٣", "three and three"),
    ("No numbers. No. Not 1", "No numbers. No. Not one"),
    ("", ""),
]  # fmt: skip

SPANISH = [
    # whole numbers, in agreement with the noun
    ("Hay 0, 7 o 16.", "Hay cero, siete o dieciséis."),
    ("Tengo 21.", "Tengo veintiuno."),
    ("21 años, 1 libro y 31 días", "veintiún años, un libro y treinta y un días"),
    ("21 personas, 1 canción y 200 mujeres", "veintiuna personas, una canción y doscientas mujeres"),
    ("500 casas y 500 libros", "quinientas casas y quinientos libros"),
    ("el 1 de enero y el 21 de mayo", "el uno de enero y el veintiuno de mayo"),
    ("1.234 o 10 000 o 10\u202f000", "mil doscientos treinta y cuatro o diez mil o diez mil"),
    ("21.000, 31.001 y 1.000.000", "veintiún mil, treinta y un mil uno y un millón"),
    ("-5 grados", "menos cinco grados"),
    # decimals
    ("3,14 o 3.14", "tres coma catorce o tres punto catorce"),
    ("0,5, 3,05 y 3,1416", "cero coma cinco, tres coma cero cinco y tres coma uno cuatro uno seis"),
    ("1.000,5 o 1,000.5", "mil coma cinco o mil punto cinco"),
    ("1,000,000", "un millón"),
    ("versión 2.3.1", "versión dos punto tres punto uno"),
    # years are numbers
    ("en 1999 y 2024", "en mil novecientos noventa y nueve y dos mil veinticuatro"),
    # ordinals
    ("1º, 2.º, 3ª y 21.ª", "primero, segundo, tercera y vigésima primera"),
    ("el 1er piso, el 3.er día, la 5ta", "el primer piso, el tercer día, la quinta"),
    ("11º, 13º y 40º", "decimoprimero, decimotercero y cuadragésimo"),
    ("n.º 5 y nº 7", "número cinco y número siete"),
    # money
    ("5,20 €", "cinco euros con veinte céntimos"),
    ("1 €, 21 €, 1,01 € y 0,99€", "un euro, veintiún euros, un euro con un céntimo y noventa y nueve céntimos"),
    ("$5.20 y $1", "cinco dólares con veinte centavos y un dólar"),
    ("21 £ y 200 £", "veintiuna libras y doscientas libras"),
    ("1.000.000 € o 2,5 millones de €", "un millón de euros o dos coma cinco millones de euros"),
    ("5 mil € o 5-10 €", "cinco mil euros o cinco a diez euros"),
    # percentages and ranges
    ("5 %, 3,5% y 21%", "cinco por ciento, tres coma cinco por ciento y veintiuno por ciento"),
    ("3-5 años o 20-21 personas", "tres a cinco años o veinte a veintiuna personas"),
    ("24/7", "veinticuatro barra siete"),
    # times
    ("a las 10:30, 10:00, 1:05 y 21:21", "a las diez y treinta, diez, una y cinco y veintiuna y veintiuno"),
    ("9:00-10:30", "nueve a diez y treinta"),
    ("0:00:01", "cero y un segundo"),
    # digit by digit
    ("612 345 678", "seis uno dos, tres cuatro cinco, seis siete ocho"),
    ("612 34 56 78", "seis uno dos, tres cuatro, cinco seis, siete ocho"),
    ("612345678 y 007", "seis uno dos tres cuatro cinco seis siete ocho y cero cero siete"),
    ("+34 612 345 678", "más tres cuatro, seis uno dos, tres cuatro cinco, seis siete ocho"),
    ("5km a 20 ºC", "cinco km a veinte ºC"),
]  # fmt: skip

OTHERS = [
    ("fr", "1 234,5 et 80 % de 3-5", "mille deux cent trente-quatre virgule cinq et quatre-vingts pour cent de trois à cinq"),
    ("fr", "3,14", "trois virgule quatorze"),
    ("de", "3,14 und 1.234 und -5 %", "drei Komma eins vier und eintausendzweihundertvierunddreißig und minus fünf Prozent"),
    ("it", "3,14 e 21", "tre virgola quattordici e ventuno"),
    ("pt", "3,14 e 1.000", "três vírgula catorze e mil"),
    ("nl", "3,05", "drie komma nul vijf"),
    ("ru", "5 яблок", "пять яблок"),
    ("ja", "5人", "五人"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "spoken"), ENGLISH)
def test_english_numbers_are_spelled_out(text: str, spoken: str) -> None:
    assert spell_numbers(text, "en") == spoken


@pytest.mark.parametrize(("text", "spoken"), SPANISH)
def test_spanish_numbers_are_spelled_out(text: str, spoken: str) -> None:
    assert spell_numbers(text, "es") == spoken


@pytest.mark.parametrize(("language", "text", "spoken"), OTHERS)
def test_numbers_of_other_languages_are_spelled_out(language: str, text: str, spoken: str) -> None:
    assert spell_numbers(text, language) == spoken


@pytest.mark.parametrize(
    ("language", "text"), [("ru", "3.14 и 10:30"), ("zh", "5个"), ("xx", "1999"), ("am", "1999"), ("", "5")]
)
def test_unknown_notations_are_unchanged(language: str, text: str) -> None:
    assert spell_numbers(text, language) == text


@pytest.mark.parametrize("language", ["EN", "en-US", "en_GB"])
def test_language_with_region_uses_the_same_rules(language: str) -> None:
    assert spell_numbers("42", language) == "forty-two"


VOCABULARY = """0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 1999 10 000 ٣ . , : - – / % $ € £ + ( ) º ª er st th s ' a a.m. # No. n.º
    million mil millones"""
PIECES = st.sampled_from([*VOCABULARY.split(), " ", " ", "\u202f"])
TEXTS = st.lists(PIECES, max_size=40).map("".join)


@settings(derandomize=True, deadline=None, max_examples=500)
@given(TEXTS, st.sampled_from(["en", "es", "fr", "de", "it", "pt", "nl"]))
def test_no_digit_is_left(text: str, language: str) -> None:
    spoken = spell_numbers(text, language)
    assert not re.search(r"\d", spoken)
    if not re.search(r"\d", text):
        assert spoken == text


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.integers(0, 10**15 - 1), st.sampled_from(["en", "es", "fr", "de", "ru", "ja", "ar", "te", "kn", "tr", "pl"]))
def test_any_number_has_words_in_any_language(number: int, language: str) -> None:
    spoken = spell_numbers(f"{number} {number // 1000}000", language)
    assert not re.search(r"\d", spoken)
    assert spoken.strip()


@pytest.mark.parametrize(
    "piece", ["1", "1,", "1.", "123.", "123,", "123 ", "1-", "1/", "1:", "$1", "+1", "12 345 ", " ", "-"]
)
@pytest.mark.parametrize("language", ["en", "es", "fr"])
def test_time_is_linear_in_the_text(piece: str, language: str) -> None:
    """Takes about a second; minutes with a quadratic step."""
    started = time.process_time()
    assert not re.search(r"\d", spell_numbers(piece * (40_000 // len(piece)) + "1", language))
    assert time.process_time() - started < 15
