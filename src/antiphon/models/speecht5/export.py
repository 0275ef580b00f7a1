"""Export a SpeechT5 checkpoint and its vocoder as the OpenVINO IR that optimum-intel writes."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from antiphon.errors import ConfigError
from antiphon.models.family import ExportJob
from antiphon.models.speecht5.config import check_mels, read_config, read_vocoder_config
from antiphon.models.speecht5.graph_export import ENCODER_PREFIX, decoder_graph, encoder_graph
from antiphon.models.speecht5.graph_export_sound import postnet_graph, vocoder_graph
from antiphon.models.speecht5.shapes import expected_shapes, stored_vocoder_shapes
from antiphon.weights.config_file import CONFIG_FILE
from antiphon.weights.safetensors import open_checkpoint
from antiphon.weights.shapes import check_shapes


def export(job: ExportJob) -> None:
    """Write encoder, decoder, post-net, vocoder and tokenizers."""
    config = read_config(job.source)
    folder = _vocoder(job)
    sound = read_vocoder_config(folder)
    check_mels(sound, folder / CONFIG_FILE, config, job.source)
    job.write_sentence_piece_tokenizer("spm_char.model")
    with open_checkpoint(job.source) as tensors:
        check_shapes(job.source, expected_shapes(config), tensors)
        job.write_graph("openvino_encoder_model", partial(encoder_graph, config), tensors, ENCODER_PREFIX)
        job.write_graph("openvino_decoder_model", partial(decoder_graph, config), tensors)
        job.write_graph("openvino_postnet", partial(postnet_graph, config), tensors)
    with open_checkpoint(folder) as tensors:
        check_shapes(folder, stored_vocoder_shapes(sound, tensors), tensors)
        job.write_graph("openvino_vocoder", partial(vocoder_graph, sound), tensors)


def _vocoder(job: ExportJob) -> Path:
    folder = job.vocoder or job.source / "vocoder"
    if not folder.is_dir():
        missing = f"{folder}: no such folder; a vocoder" if job.vocoder else "SpeechT5 needs one; it"
        raise ConfigError(f"{missing} is a HiFi-GAN such as microsoft/speecht5_hifigan.", setting="vocoder")
    return folder
