"""OpenVINO folders of SpeechT5: the vocoder config derived from its graph, and folders that are not native."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from openvino import opset13 as ops

from antiphon.errors import NotNative
from antiphon.models.folder import format_of
from antiphon.models.speecht5.config import VocoderConfig
from antiphon.models.speecht5.ir import check_tokenizer, has_vocoder, open_vocoder_ir
from antiphon.weights.openvino_ir.files import DECODER_MODEL, VOCODER
from antiphon.weights.openvino_ir.source import IrWeights
from tests.support.small_ir import named, write
from tests.support.tiny_speecht5 import SOUND, Tensors, random_vocoder

TENSORS = random_vocoder(SOUND, 3)


class Exporter:
    """A HiFi-GAN as optimum-intel exports it."""

    def __init__(self, tensors: Tensors, last_slope: float = 0.01) -> None:
        self.tensors = tensors
        self.last_slope = last_slope

    def write(self, folder: Path) -> Path:
        given = ops.parameter([-1, -1, SOUND.mels], ov.Type.f32)
        hidden = ops.add(given, ops.constant(-self.tensors["mean"][None, None]))
        hidden = ops.divide(hidden, ops.constant(self.tensors["scale"][None, None]))
        hidden = self.layer(ops.transpose(hidden, ops.constant(np.array([0, 2, 1]))), "conv_pre")
        for stage in range(len(SOUND.rates)):
            hidden = self.upsampling(leaky(hidden, SOUND.slope), stage)
            hidden = self.blocks(hidden, stage)
        hidden = ops.tanh(self.layer(leaky(hidden, self.last_slope), "conv_post"))
        return write(folder, hidden, given, file=VOCODER).parent

    def blocks(self, hidden: ov.Node, stage: int) -> ov.Node:
        total = hidden
        for index, dilations in enumerate(SOUND.block_dilations):
            block, name = hidden, f"resblocks.{stage * len(SOUND.block_kernels) + index}"
            for layer, dilation in enumerate(dilations):
                inner = self.layer(leaky(block, SOUND.slope), f"{name}.convs1.{layer}", dilation)
                inner = self.layer(leaky(inner, SOUND.slope), f"{name}.convs2.{layer}")
                block = ops.add(inner, block)
            total = ops.add(total, block)
        return total

    def layer(self, hidden: ov.Node, name: str, dilation: int = 1) -> ov.Node:
        kernel = self.tensors[f"{name}.weight"]
        half = dilation * (kernel.shape[2] - 1) // 2
        made = ops.convolution(hidden, ops.constant(kernel), [1], [half], [half], [dilation])
        return self.biased(named(made, f"__module.{name}/aten::_convolution/Convolution"), name)

    def upsampling(self, hidden: ov.Node, stage: int) -> ov.Node:
        rate, size = SOUND.rates[stage], SOUND.kernels[stage]
        half, kernel = (size - rate) // 2, ops.constant(self.tensors[f"upsampler.{stage}.weight"])
        made = ops.convolution_backprop_data(hidden, kernel, [rate], None, [half], [half], [1], "explicit")
        call = "aten::_convolution/ConvolutionBackpropData"
        return self.biased(named(made, f"__module.upsampler.{stage}/{call}"), f"upsampler.{stage}")

    def biased(self, made: ov.Node, name: str) -> ov.Node:
        return ops.add(made, ops.constant(self.tensors[f"{name}.bias"][None, :, None]))


def leaky(hidden: ov.Node, slope: float) -> ov.Node:
    return ops.prelu(hidden, ops.constant(np.array([slope], np.float32)))


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> tuple[VocoderConfig, IrWeights]:
    return open_vocoder_ir(Exporter(TENSORS).write(tmp_path_factory.mktemp("vocoder")))


def test_vocoder_config_is_derived_from_its_layers(opened: tuple[VocoderConfig, IrWeights]) -> None:
    config, _ = opened
    expected = {name: getattr(SOUND, name) for name in VocoderConfig.__slots__}
    assert {name: getattr(config, name) for name in VocoderConfig.__slots__} == expected | {"sample_rate": 16_000}


def test_all_vocoder_tensors_are_found(opened: tuple[VocoderConfig, IrWeights]) -> None:
    for name, tensor in TENSORS.items():
        np.testing.assert_allclose(opened[1].array(name), tensor, rtol=1e-6, err_msg=name)


def test_vocoder_with_another_last_slope_is_not_native(tmp_path: Path) -> None:
    with pytest.raises(NotNative, match=r"the last rectifier's slope is 0\.2, not 0\.01"):
        open_vocoder_ir(Exporter(TENSORS, last_slope=0.2).write(tmp_path))


def test_another_network_is_not_a_vocoder(tmp_path: Path) -> None:
    given = ops.parameter([-1, -1, 4], ov.Type.f32)
    folder = write(tmp_path, ops.relu(given), given, file=VOCODER).parent
    with pytest.raises(NotNative, match="no operation is named after the module conv_pre"):
        open_vocoder_ir(folder)


def test_folder_contents_decide_the_format(tmp_path: Path) -> None:
    assert format_of(tmp_path) is None
    assert not has_vocoder(tmp_path)
    with pytest.raises(NotNative, match=r"no tokenizer\.json or spm_char\.model"):
        check_tokenizer(tmp_path)
    for name in (VOCODER, DECODER_MODEL, "spm_char.model"):
        (tmp_path / name).touch()
    assert format_of(tmp_path) == "openvino"
    assert has_vocoder(tmp_path)
    check_tokenizer(tmp_path)
