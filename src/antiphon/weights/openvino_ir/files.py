"""File names of an OpenVINO model folder as optimum-intel writes it."""

from __future__ import annotations

ENCODER_MODEL = "openvino_encoder_model.xml"
DECODER_MODEL = "openvino_decoder_model.xml"
POSTNET = "openvino_postnet.xml"
VOCODER = "openvino_vocoder.xml"
TOKENIZER = "openvino_tokenizer.xml"
DETOKENIZER = "openvino_detokenizer.xml"
