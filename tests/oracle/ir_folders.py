"""OpenVINO IR folders for the genai backend: optimum's exports of small checkpoints, and a random graph in Kokoro's shape."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset13 as ops
from transformers import SpeechT5FeatureExtractor, SpeechT5Processor, SpeechT5Tokenizer

from tests.oracle.exports import WHISPER, export, speech
from tests.oracle.speecht5_reference import Shape, make_comparison
from tests.support.speecht5_checkpoint import LETTERS
from tests.support.starters import STARTER_ASR as STARTER
from tests.support.toy_vocabulary import character_model

# The pipeline takes speakers of 512 values and no others.
SPEECHT5 = Shape("genai", speaker=512, text_positions=200, goes_on=0.9)

PHONEMES = "abdefhijklmnoprstuvwzðŋɐəɛɪʃʊʌɜɹˈˌː .,!?AIOWY"
LEXICON = {"hello": "həlˈO", "world": "wˈɜɹld", "a": "ɐ"}
SOUND = 300  # samples of a phoneme
EXACT = ("--weight-format", "fp32")


def export_starter(folder: Path) -> Path:
    """starter-asr, whose transcripts are words."""
    return export(STARTER, folder, WHISPER, *EXACT)


def export_speecht5(checkpoint: Path, folder: Path) -> Path:
    """A random SpeechT5, with the files that only transformers needs."""
    make_comparison(checkpoint, SPEECHT5)
    # The graph draws its dropout anew at each call, and no seed reaches it. At 0 transformers drops every unit, always.
    config = json.loads((checkpoint / "config.json").read_text()) | {"speech_decoder_prenet_dropout": 0.0}
    (checkpoint / "config.json").write_text(json.dumps(config))
    pieces = checkpoint / "spm_char.model"
    pieces.write_bytes(character_model(LETTERS))
    tokenizer = SpeechT5Tokenizer(str(pieces), model_max_length=SPEECHT5.text_positions)
    SpeechT5Processor(SpeechT5FeatureExtractor(), tokenizer).save_pretrained(checkpoint)
    return export(checkpoint, folder, speech(checkpoint), *EXACT)


def write_kokoro(folder: Path) -> Path:
    """Kokoro's files and its graph's inputs and outputs: a sound for each phoneme, tinted by the style; random weights."""
    for name in ("voices", "data"):
        (folder / name).mkdir(parents=True)
    random = np.random.default_rng(0)
    vocabulary = {letter: index + 1 for index, letter in enumerate(PHONEMES)}
    ids = ops.parameter([1, -1], np.int64, name="input_ids")
    style = ops.parameter([1, 256], np.float32, name="ref_s")
    speed = ops.parameter([1], np.float32, name="speed")
    sounds = random.standard_normal((len(PHONEMES) + 1, SOUND)).astype(np.float32)
    tints = random.standard_normal((256, SOUND)).astype(np.float32) / 16
    tinted = ops.add(ops.gather(sounds, ids, 0), ops.unsqueeze(ops.matmul(style, tints, False, False), 1))
    waveform = ops.reshape(ops.divide(ops.tanh(tinted), speed), [-1], False)
    durations = ops.reshape(ops.add(ops.multiply(ids, np.int64(0)), np.int64(1)), [-1], False)
    for node, name in zip(
        (ids, style, speed, waveform, durations), ("input_ids", "ref_s", "speed", "waveform", "pred_dur"), strict=True
    ):
        node.output(0).get_tensor().set_names({name})
    model = ov.Model([ops.result(waveform), ops.result(durations)], [ids, style, speed], "kokoro")
    ov.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
    config = {"vocab": vocabulary, "istftnet": {}, "n_mels": 80, "plbert": {"max_position_embeddings": 512}}
    (folder / "config.json").write_text(json.dumps(config))
    for country in ("us", "gb"):
        (folder / "data" / f"{country}_gold.json").write_text(json.dumps(LEXICON))
        (folder / "data" / f"{country}_silver.json").write_text("{}")
    for name in ("af_heart", "bm_fable"):
        random.standard_normal((510, 1, 256)).astype("<f4").tofile(folder / "voices" / f"{name}.bin")
    return folder
