"""What is computed from a row of logits outside the graph: probabilities, the language, and a sampled token.

All randomness is a function of its key, so a text never depends on what else is in the batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Row = NDArray[np.float32]


def log_softmax(row: Row) -> NDArray[np.float64]:
    """Log-probabilities of one row of logits `[vocabulary]`."""
    shifted: NDArray[np.float64] = row.astype(np.float64) - row.max()
    shifted -= np.log(np.exp(shifted).sum())
    return shifted


def probability(row: Row, token: int) -> float:
    """Softmax probability of `token` over the whole vocabulary."""
    return float(np.exp(log_softmax(row)[token]))


def language_of(row: Row, languages: dict[str, int]) -> tuple[str, float]:
    """The likeliest of `languages` (code -> token id), and its probability among them."""
    codes = list(languages)
    chances = np.exp(log_softmax(row[[languages[code] for code in codes]]))
    best = int(chances.argmax())
    return codes[best], float(chances[best])


def sample(scores: Row, temperature: float, key: tuple[int, int], position: int) -> tuple[int, float]:
    """Sample a token of `scores [vocabulary]` at `temperature` with the Gumbel-max trick; also its log-probability at 1.

    The noise comes from a counter-based generator (Philox) with the key (seed, window start) and the counter `position`.
    """
    generator = np.random.Generator(np.random.Philox(key=list(key), counter=[0, 0, 0, position]))
    # In float64 and at most zero: a tiny temperature must not overflow into a tie.
    tempered = (scores.astype(np.float64) - scores.max()) / temperature
    token = int((tempered + generator.gumbel(size=scores.shape)).argmax())
    return token, float(log_softmax(scores)[token])
