"""The same tokens from a whole published shape, however it is read: the checkpoint, optimum-intel's export of it, and ours.

Random weights in fp16; 60 forced tokens of two clips. Here, with and without timestamps: the checkpoint's, both exports'. In
`openvino_genai`, in f32, without: both exports'; it may differ from here in what is close, for its features do in their last
digits. Prints how many tokens agree, and what the two exports took. The last line is JSON.

    .venv/bin/python bench/compare_tokens.py --shape tiny --weight-format int8
"""

from __future__ import annotations

import json
import multiprocessing
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent.parent), str(Path(__file__).parent.parent / "tests")]

from bench import compare_export  # noqa: E402

TOKENS = 60
LIVELY = 2.4  # init_std times the root of the width: the answers vary, and still depend on the audio

Answers = dict[str, list[int]]  # the tokens of each clip, by what was asked


def write_lively(folder: Path, name: str) -> None:
    """A checkpoint of a published shape in fp16 whose answers are not all one token."""
    import torch

    from bench import checkpoints

    shape = checkpoints.PUBLISHED[name]
    checkpoints.write_checkpoint(folder, replace(shape, init_std=LIVELY / shape.width**0.5, dtype=torch.float16))


def hear_here(folder: Path, form: str) -> Answers:
    """What our engine samples, computing in f32."""
    from antiphon.loader import LoadOptions, load_sessions
    from tests.support.drive_session import drive, make_unit

    options = LoadOptions(name=folder.name, precision="f32", weight_format=form, slots=1)
    session = load_sessions(str(folder), options)[0]
    length = {"language": "en", "max_new_tokens": TOKENS, "min_new_tokens": TOKENS}
    return {
        f"{name}{' timed' * timed}": list(drive(session, [make_unit(clip, timestamps=timed, **length)])[0].tokens)
        for name, clip in clips().items()
        for timed in (False, True)
    }


def hear_in_genai(folder: Path, form: str) -> Answers:
    """What `openvino_genai` samples from an export, without times."""
    from bench.genai_tokens import open_exact, sample

    pipeline = open_exact(folder)
    return {name: sample(pipeline, clip, TOKENS) for name, clip in clips().items()}


def clips() -> dict[str, object]:
    from oracle.signals import chirps

    return {"7 s": chirps(7, 0), "30 s": chirps(30, 1)}


def apart(work: Callable[..., object], *arguments: object) -> object:
    """Do `work` in a process of its own, so that its memory is given back."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def answers_of(hear: Callable[[Path, str], Answers], folder: Path, form: str) -> Answers:
    answers = apart(hear, folder, form)
    assert isinstance(answers, dict)
    return answers


def agreement(one: Answers, other: Answers) -> str:
    pairs = [(a, b) for key in one for a, b in zip(one[key], other[key], strict=True)]
    return f"{sum(a == b for a, b in pairs)} of {len(pairs)}"


def compare(shape: str, form: str, work: Path, limit: float) -> dict[str, object]:
    checkpoint = work / "checkpoint"
    if not (checkpoint / "tokenizer.json").is_file():
        apart(write_lively, checkpoint, shape)
    figures: dict[str, object] = {"shape": shape, "weight_format": form}
    for name, make in (("antiphon", compare_export.ours), ("optimum", compare_export.theirs)):
        command, made = make(checkpoint, work, form)
        if not (made / "openvino_detokenizer.xml").is_file():
            shutil.rmtree(made, ignore_errors=True)
            cost = compare_export.measure(command, work / f"{name}.log", limit)
            if not cost.ended:
                raise SystemExit(f"{name} was stopped after {limit} s.")
            figures[f"{name}_export"] = asdict(cost)
            print(f"{name} export: {cost}", flush=True)
    optimum, ours = work / "optimum", work / "antiphon"
    # optimum-intel copies it, where there is one; openvino_genai needs it to know how many mels a model hears.
    shutil.copy(ours / "preprocessor_config.json", optimum)
    measure = answers_of(hear_here, optimum, "auto")
    figures["different_tokens"] = len({token for tokens in measure.values() for token in tokens})
    there = answers_of(hear_in_genai, optimum, "")
    others = (
        ("the checkpoint here, as optimum's export here", answers_of(hear_here, checkpoint, form), measure),
        ("antiphon's export here, as optimum's export here", answers_of(hear_here, ours, "auto"), measure),
        ("antiphon's export in genai, as optimum's export there", answers_of(hear_in_genai, ours, ""), there),
        ("optimum's export in genai, as it is here", there, measure),
    )
    for name, answers, right in others:
        figures[name] = agreement(answers, right)
        print(f"{name}: {figures[name]} tokens", flush=True)
    return figures


def main() -> None:
    with compare_export.working(__doc__, shape="tiny", limit=5400) as (options, work):
        figures = compare(options.shape, options.weight_format, work, options.limit)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
