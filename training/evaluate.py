"""Owns the evaluation of both starters: the tables of their cards, measured through Antiphon itself.

It must not know how they were trained. Run: .venv/bin/python -m training.evaluate"""

from __future__ import annotations

from training.starter_asr import listen as hearing
from training.starter_tts import listen as speaking


def main() -> None:
    """Print the tables, that of starter-asr first."""
    hearing.main()
    speaking.main()


if __name__ == "__main__":
    main()
