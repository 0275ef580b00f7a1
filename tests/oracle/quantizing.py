"""optimum-intel's `--quant-mode int8` without its data set, which is on the hub: calibrated on features out of a file.

python quantizing.py EXPORT FEATURES.npy TARGET
"""

from __future__ import annotations

import sys

import nncf
import numpy as np
from optimum.intel import OVConfig, OVModelForSpeechSeq2Seq, OVQuantizationConfig, OVQuantizer
from optimum.intel.openvino.quantization import OVCalibrationDataset

IDS = 12  # tokens that the decoder is calibrated on, of each window


def main(folder: str, features: str, target: str) -> None:
    """Quantise both graphs of an fp32 export, as the command line of optimum-intel does, in seven bits of weights."""
    model = OVModelForSpeechSeq2Seq.from_pretrained(folder)
    log_mels = [one[None] for one in np.load(features)]
    draw = np.random.default_rng(0)
    decoder_inputs = [
        {
            "input_ids": draw.integers(0, model.config.vocab_size, (1, IDS)),
            "encoder_hidden_states": model.encoder(one).last_hidden_state.numpy(),
            "beam_idx": np.zeros(1, np.int32),
        }
        for one in log_mels
    ]
    encoder = nncf.Dataset([{"input_features": one} for one in log_mels])
    data = OVCalibrationDataset({"encoder": encoder, "decoder": nncf.Dataset(decoder_inputs)})
    # Without the fix, sums overflow on AVX2, in another way in every kernel.
    how = OVQuantizationConfig(bits=8, num_samples=len(log_mels), overflow_fix="enable")
    config = OVConfig(quantization_config=how)
    OVQuantizer(model).quantize(calibration_dataset=data, ov_config=config, save_directory=target)


if __name__ == "__main__":
    main(*sys.argv[1:])
