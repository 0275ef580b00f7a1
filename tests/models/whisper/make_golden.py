"""Makes `golden.json`: what transformers says of the tiny checkpoint, for the tests that run without PyTorch.

Run with the oracle extra installed: `.venv/bin/python tests/models/whisper/make_golden.py`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support.tiny_whisper import IDS, MELS, noise, write_tiny

GOLDEN = Path(__file__).with_name("golden.json")
CASES: list[dict[str, Any]] = [
    {"seconds": 0.2, "language": "en", "task": "transcribe", "timestamps": False, "prompt": None},
    {"seconds": 3.0, "language": "es", "task": "translate", "timestamps": False, "prompt": "Antiphon"},
    {"seconds": 11.0, "language": None, "task": "transcribe", "timestamps": False, "prompt": None},
    {"seconds": 30.0, "language": "en", "task": "transcribe", "timestamps": True, "prompt": None},
    {"seconds": 5.0, "language": None, "task": "transcribe", "timestamps": True, "prompt": "glossary: OpenVINO"},
]
NEW_TOKENS = 40


def make() -> dict[str, Any]:
    """Tokens of greedy `generate`, batch 1, and some values of features, encoder states and logits."""
    import torch
    from transformers import WhisperFeatureExtractor, WhisperForConditionalGeneration

    with tempfile.TemporaryDirectory() as folder:
        model = WhisperForConditionalGeneration.from_pretrained(write_tiny(Path(folder))).eval()
    extractor = WhisperFeatureExtractor(feature_size=MELS)
    golden: dict[str, Any] = {"new_tokens": NEW_TOKENS, "cases": []}
    for index, case in enumerate(CASES):
        samples = noise(case["seconds"], seed=index)
        features = extractor(samples, sampling_rate=16_000, return_tensors="pt").input_features
        prompt = [IDS["<|startofprev|>"], *(" " + case["prompt"]).encode()] if case["prompt"] else None
        with torch.no_grad():
            states = model.model.encoder(features).last_hidden_state
            tokens = sampled(model, features, case, torch.tensor(prompt) if prompt else None)
        golden["cases"].append(
            case
            | {
                "features": [round(value, 6) for value in features[0, ::16, ::500].flatten().tolist()],
                "states": [round(value, 5) for value in states[0, ::300, ::10].flatten().tolist()],
                "tokens": [token for token in tokens if token != IDS["<|endoftext|>"]],
            }
        )
    return golden


def sampled(model: Any, features: Any, case: dict[str, Any], prompt: Any) -> list[int]:
    """The tokens that greedy `generate` sampled. With timestamps its own answer is put together from segments."""
    chosen = {"language": case["language"], "task": case["task"], "prompt_ids": prompt, "max_new_tokens": NEW_TOKENS}
    if not case["timestamps"]:
        # The toy answers hold timestamps even here, at which transformers seeks and decodes again: only the first pass.
        answer: list[int] = model.generate(features, **chosen)[0].tolist()[:NEW_TOKENS]
    else:
        output = model.generate(features, return_timestamps=True, return_dict_in_generate=True, **chosen)
        result = output["segments"][0][0]["result"]
        answer = (result["sequences"] if isinstance(result, dict) else result).flatten().tolist()
    starts = IDS["<|startoftranscript|>"]
    return answer[answer.index(starts) + 3 :] if starts in answer else answer


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(make(), separators=(",", ":")) + "\n")
