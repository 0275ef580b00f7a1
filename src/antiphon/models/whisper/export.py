"""Export a Whisper checkpoint as the OpenVINO IR that optimum-intel writes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from antiphon.models.family import EncoderInputs, ExportJob
from antiphon.models.whisper.config import FRAMES, HOP, N_FFT, WhisperConfig, read_config
from antiphon.models.whisper.graph import features_graph
from antiphon.models.whisper.graph_export import ENCODER_PREFIX, decoder_graph, encoder_graph
from antiphon.runtime.openvino import open_device
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES, WINDOW_SECONDS, Samples
from antiphon.weights.safetensors import open_checkpoint


def export(job: ExportJob) -> None:
    """Write the encoder, the decoder, the tokenizers, and a preprocessor_config.json if the checkpoint has none."""
    config = read_config(job.source)
    job.write_byte_pair_tokenizer()
    with open_checkpoint(job.source) as tensors:
        job.write_graph(
            "openvino_encoder_model",
            partial(encoder_graph, config),
            tensors,
            ENCODER_PREFIX,
            calibrate=partial(encoder_inputs, config=config),
        )
        decoder = partial(decoder_graph, config, form=job.weight_format)
        job.write_graph("openvino_decoder_model", decoder, tensors)
    # Without this file OpenVINO GenAI assumes 80 mels for every model.
    job.write_default_json(
        "preprocessor_config.json",
        {
            "chunk_length": WINDOW_SECONDS,
            "feature_extractor_type": "WhisperFeatureExtractor",
            "feature_size": config.mels,
            "hop_length": HOP,
            "n_fft": N_FFT,
            "n_samples": FRAMES * HOP,
            "nb_max_frames": FRAMES,
            "padding_side": "right",
            "padding_value": 0.0,
            "processor_class": "WhisperProcessor",
            "return_attention_mask": False,
            "sampling_rate": SAMPLE_RATE,
        },
    )


def encoder_inputs(windows: Sequence[Samples], config: WhisperConfig) -> EncoderInputs:
    """The input of the encoder for each window, padded to 30 s: its log-mel features."""
    features = open_device(precision="f32").compile(features_graph(config))
    padded = (np.pad(window, (0, WINDOW_SAMPLES - len(window)))[None] for window in windows)
    return [{"input_features": features(window)["features"].copy()} for window in padded]
