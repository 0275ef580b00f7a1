"""The grammar of translations: what is held out is out, and everything in it can be learnt."""

from __future__ import annotations

from training.starter_asr.pairs import DEMONSTRATION, build, held_out, of, sentence, to
from training.starter_asr.text import normalise, words_of


def test_what_is_held_out_is_not_trained_on() -> None:
    train, heldout = build()
    assert len(train) > 5000
    assert heldout[0] == DEMONSTRATION
    assert len(heldout) >= 150
    assert not {normalise(spanish) for spanish, _ in train} & {normalise(spanish) for spanish, _ in heldout}


def test_every_word_of_what_is_held_out_is_trained_on() -> None:
    train, heldout = build()
    for place in (0, 1):
        known = {word for pair in train for word in words_of(pair[place])}
        assert {word for pair in heldout for word in words_of(pair[place])} <= known


def test_a_sentence_means_one_thing_wherever_it_is_made() -> None:
    train, heldout = build()
    pairs = train + heldout
    assert len({spanish for spanish, _ in pairs}) == len(pairs)
    assert build() == (train, heldout)
    assert build(seed=2)[1] != heldout
    assert all(held_out(spanish) for spanish, _ in build(seed=2)[1])


def test_articles_join_their_prepositions() -> None:
    assert (to("el río"), to("la casa"), of("el río"), of("la casa")) == (
        "al río",
        "a la casa",
        "del río",
        "de la casa",
    )


def test_a_sentence_begins_with_a_capital() -> None:
    assert sentence("¿dónde está?") == "¿Dónde está?"
    assert sentence("el río.") == "El río."
