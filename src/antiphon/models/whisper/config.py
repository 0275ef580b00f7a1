"""A Whisper checkpoint's shapes, token ids and decoding rules, read from its JSON files and checked against each other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from antiphon.errors import ConfigError
from antiphon.models.whisper.alignment_heads import AlignmentHeads, choose_heads
from antiphon.weights.config_file import CONFIG_FILE, read_json

# Every Whisper takes windows of 30 s at 16 kHz, in mel frames of 10 ms (Radford et al. 2022, section 2.2).
N_FFT = 400
HOP = 160
FRAMES = 3000
SAMPLES_PER_POSITION = 2 * HOP  # each of the encoder's 1,500 positions covers 20 ms
# 1,501 timestamps of 20 ms: <|0.00|> to <|30.00|>.
TIMESTAMPS = 1501
TIMESTAMP_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Tokens:
    """Special token ids. `languages` maps a language code to its id and is empty for an English-only model."""

    end: int
    start: int
    languages: dict[str, int]
    translate: int | None
    transcribe: int | None
    previous: int | None
    no_speech: int
    no_timestamps: int
    timestamp_begin: int


@dataclass(frozen=True, slots=True)
class WhisperConfig:
    """Shapes of one Whisper checkpoint, and the decoding settings of its generation config."""

    vocabulary: int
    mels: int
    width: int
    encoder_layers: int
    encoder_heads: int
    encoder_ffn: int
    decoder_layers: int
    decoder_heads: int
    decoder_ffn: int
    source_positions: int  # 1,500 encoder positions: one for every two mel frames
    target_positions: int  # 448: prompt and answer together
    tokens: Tokens
    suppress: tuple[int, ...]
    begin_suppress: tuple[int, ...]
    max_initial_timestamp: int | None  # index of the latest first timestamp; None: no limit
    alignment: AlignmentHeads  # the cross-attention heads that word timestamps are read from

    @property
    def multilingual(self) -> bool:
        """Whether the prompt names a language and a task; ".en" models take neither."""
        return bool(self.tokens.languages)

    @property
    def head_width(self) -> int:
        """Width of one decoder head, which is what the caches hold."""
        return self.width // self.decoder_heads


def read_config(folder: Path) -> WhisperConfig:
    """Read `config.json` and `generation_config.json` of a checkpoint folder.

    Raises ConfigError naming the file and the key that is missing or contradicts the rest.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    generation_path = folder / "generation_config.json"
    return parse_config(path, config, read_json(generation_path) if generation_path.is_file() else config)


def parse_config(path: Path, config: dict[str, Any], generation: dict[str, Any]) -> WhisperConfig:
    """The configuration that the contents of a checkpoint's two files describe; `path` is named in errors."""
    try:
        tokens = _tokens(config, generation)
        result = WhisperConfig(
            vocabulary=config["vocab_size"],
            mels=config["num_mel_bins"],
            width=config["d_model"],
            encoder_layers=config["encoder_layers"],
            encoder_heads=config["encoder_attention_heads"],
            encoder_ffn=config["encoder_ffn_dim"],
            decoder_layers=config["decoder_layers"],
            decoder_heads=config["decoder_attention_heads"],
            decoder_ffn=config["decoder_ffn_dim"],
            source_positions=config["max_source_positions"],
            target_positions=config["max_target_positions"],
            tokens=tokens,
            suppress=tuple(generation.get("suppress_tokens") or ()),
            begin_suppress=tuple(generation.get("begin_suppress_tokens") or ()),
            max_initial_timestamp=_max_initial_timestamp(generation),
            alignment=choose_heads(
                [(int(layer), int(head)) for layer, head in generation.get("alignment_heads") or ()],
                config["decoder_layers"],
                config["decoder_attention_heads"],
                config["vocab_size"],
            ),
        )
    except KeyError as error:
        raise ConfigError(f"{path}: key {error} is missing; this is not a whole Whisper checkpoint.") from error
    except (TypeError, ValueError, AttributeError, IndexError) as error:
        raise ConfigError(f"{path} or generation_config.json: a value has the wrong type ({error}).") from error
    _check(path, config, result)
    return result


def _tokens(config: dict[str, Any], generation: dict[str, Any]) -> Tokens:
    """Ids that are not named follow from the order of every Whisper vocabulary: … no-speech, no-timestamps, timestamps."""
    no_timestamps = generation.get("no_timestamps_token_id")
    if no_timestamps is None:
        no_timestamps = config["vocab_size"] - TIMESTAMPS - 1
    multilingual = bool(generation.get("is_multilingual", "lang_to_id" in generation))
    languages = generation.get("lang_to_id") or {} if multilingual else {}
    tasks = generation.get("task_to_id") or {}
    end = generation.get("eos_token_id", config["eos_token_id"])
    return Tokens(
        end=end[0] if isinstance(end, list) else end,
        start=generation.get("decoder_start_token_id", config["decoder_start_token_id"]),
        languages={name.strip("<|>"): index for name, index in languages.items()},
        translate=tasks.get("translate", no_timestamps - 5) if multilingual else None,
        transcribe=tasks.get("transcribe", no_timestamps - 4) if multilingual else None,
        # suppress_tokens[-2], where transformers looks for it, is right for the published lists only.
        previous=generation.get("prev_sot_token_id", no_timestamps - 2),
        no_speech=no_timestamps - 1,
        no_timestamps=no_timestamps,
        timestamp_begin=no_timestamps + 1,
    )


def _max_initial_timestamp(generation: dict[str, Any]) -> int | None:
    """Index of the latest first timestamp. Old hub configs hold a stale 1 (transformers#27658) for the reference's 50."""
    value = generation.get("max_initial_timestamp_index", 50)
    return 50 if value == 1 else value


def _check(path: Path, config: dict[str, Any], result: WhisperConfig) -> None:
    for key in ("vocab_size", "num_mel_bins", "d_model", "max_source_positions", "max_target_positions"):
        _check_count(path, key, config[key])
    for side in ("encoder", "decoder"):
        for key in (f"{side}_layers", f"{side}_attention_heads", f"{side}_ffn_dim"):
            _check_count(path, key, config[key])
    if result.source_positions * 2 != FRAMES:
        raise ConfigError(f"{path}: max_source_positions {result.source_positions} is not the 1500 of a 30 s window.")
    for side, heads in (("encoder", result.encoder_heads), ("decoder", result.decoder_heads)):
        if result.width % heads:
            raise ConfigError(f"{path}: d_model {result.width} is not a multiple of {side}_attention_heads {heads}.")
    if config.get("activation_function", "gelu") != "gelu":
        raise ConfigError(f"{path}: activation_function {config['activation_function']} is not Whisper's gelu.")
    ids = [result.tokens.end, result.tokens.start, result.tokens.no_timestamps, *result.tokens.languages.values()]
    if min(ids) < 0 or max(ids) >= result.vocabulary:
        raise ConfigError(f"{path}: a special token id lies outside the vocabulary of {result.vocabulary}.")


def _check_count(path: Path, key: str, value: object) -> None:
    if not isinstance(value, int) or value < 1:
        raise ConfigError(f"{path}: {key} is {value!r}, not a whole number above zero.")
