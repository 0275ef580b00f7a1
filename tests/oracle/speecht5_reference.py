"""A random-weight SpeechT5 and HiFi-GAN loaded by transformers, the oracle, and by us; both get the same input.

Everything is float32 on both sides, and transformers gets one sentence at a time.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from transformers import SpeechT5Config, SpeechT5ForTextToSpeech, SpeechT5HifiGan, SpeechT5HifiGanConfig

from antiphon.models.folder import inspect
from antiphon.models.speecht5.load import load
from antiphon.models.speecht5.session import SpeechT5Session, StopRule
from antiphon.runtime.openvino import open_device
from antiphon.types.events import Sentence
from antiphon.types.options import WeightFormat
from tests.support.sessions import EXACT_F32
from tests.support.toy_vocabulary import character_model

Floats = NDArray[np.float32]
NormForm = Literal["folded", "lengths", "parametrized"]

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ .,?!'-"


@dataclass(frozen=True)
class Shape:
    """One configuration. `goes_on` is the share of steps whose stop probability stays below the threshold."""

    name: str
    width: int = 48
    heads: int = 4
    decoder_heads: int = 4
    layers: int = 2
    decoder_layers: int = 2
    ffn: int = 96
    mels: int = 20
    reduction: int = 2
    relative: int = 12
    activation: str = "gelu"
    epsilon: float = 1e-5
    prenet_layers: int = 2
    prenet_units: int = 24
    postnet_layers: int = 5
    postnet_units: int = 24
    postnet_kernel: int = 5
    speaker: int = 32
    text_positions: int = 120
    speech_positions: int = 700
    goes_on: float = 0.97
    seed: int = 0
    channels: int = 32
    rates: tuple[int, ...] = (4, 4, 4, 4)
    kernels: tuple[int, ...] = (8, 8, 8, 8)
    block_kernels: tuple[int, ...] = (3, 7, 11)
    dilations: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    normalize: bool = True
    norm_form: NormForm = "folded"
    rate: int = 16_000


@dataclass(frozen=True)
class Comparison:
    """One checkpoint, twice."""

    shape: Shape
    folder: Path
    model: SpeechT5ForTextToSpeech
    vocoder: SpeechT5HifiGan
    session: SpeechT5Session
    speakers: dict[str, Floats]

    def speech(
        self, ids: list[int], voice: str, factors: Sequence[Floats] | None = None, **rules: float
    ) -> tuple[Floats, Floats]:
        """What transformers makes of a text: mel before and after the post-net, `[n, mels]` each.

        `factors [pre-net layers, units]`, one for each step, stand in for its dropout; without them there is none.
        """
        before: list[torch.Tensor] = []
        hook = self.model.speech_decoder_postnet.feat_out.register_forward_hook(
            lambda module, given, made: before.append(made.detach())
        )
        speaker = torch.from_numpy(self.speakers[voice])[None]
        with _no_dropout(self.model):
            if factors is not None:
                self.model.speecht5.decoder.prenet._consistent_dropout = _given_dropout(factors, self.shape)
            after = self.model.generate_speech(torch.tensor([ids]), speaker, **rules)
        hook.remove()
        return torch.cat(before).reshape(-1, self.shape.mels).numpy(), after.numpy()

    def sound(self, mel: Floats) -> Floats:
        with torch.no_grad():
            return self.vocoder(torch.from_numpy(mel)).numpy()


def _given_dropout(factors: Sequence[Floats], shape: Shape) -> Callable[[torch.Tensor, float], torch.Tensor]:
    """Dropout that multiplies by given factors; called for each layer in turn, with all steps so far."""
    layers = itertools.cycle(range(shape.prenet_layers))

    def drop(hidden: torch.Tensor, p: float) -> torch.Tensor:
        layer = next(layers)
        return hidden * torch.from_numpy(np.stack([step[layer] for step in factors[: hidden.shape[1]]]))

    return drop


def make_comparison(folder: Path, shape: Shape, slots: int = 4) -> Comparison:
    """Write the checkpoint of `shape` into `folder` and load it on both sides, dropout off."""
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(shape.seed)
    model = SpeechT5ForTextToSpeech(_config(shape)).eval()
    vocoder = SpeechT5HifiGan(_vocoder_config(shape)).eval()
    with torch.no_grad():
        _randomise(model, shape)
        _randomise_vocoder(vocoder)
    model.save_pretrained(folder)
    _save_vocoder(vocoder, folder / "vocoder", shape.norm_form)
    write_pieces(folder)
    speakers = _write_speakers(folder, shape)
    return Comparison(shape, folder, model, vocoder, open_session(folder, StopRule(dropout=False), slots), speakers)


def open_session(
    folder: Path, rules: StopRule, slots: int = 4, weight_format: WeightFormat = "auto"
) -> SpeechT5Session:
    """Our session in f32, whatever the processor."""
    device = open_device("CPU", "f32")
    device.core.set_property("CPU", EXACT_F32)
    (session,) = load(
        inspect(folder),
        name="comparison",
        runtime=device,
        weight_format=weight_format,
        slots=slots,
        report=lambda line: None,
        rules=rules,
    )
    return session


def frames_of(session: SpeechT5Session, unit: Sentence) -> Floats:
    """All mel frames our decoder makes of a sentence, before the post-net."""
    assert session.join([unit]) == []
    (speaking,) = session._rows
    while not speaking.ended:
        session.step()
    session.leave(unit)
    return np.concatenate(speaking.frames)


def write_pieces(folder: Path) -> None:
    """The character model of `LETTERS`, where a checkpoint has it."""
    (folder / "spm_char.model").write_bytes(character_model(LETTERS))


def _config(shape: Shape) -> SpeechT5Config:
    return SpeechT5Config(
        architectures=["SpeechT5ForTextToSpeech"],
        vocab_size=81,
        hidden_size=shape.width,
        encoder_layers=shape.layers,
        encoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.ffn,
        decoder_layers=shape.decoder_layers,
        decoder_attention_heads=shape.decoder_heads,
        decoder_ffn_dim=shape.ffn,
        hidden_act=shape.activation,
        layer_norm_eps=shape.epsilon,
        num_mel_bins=shape.mels,
        reduction_factor=shape.reduction,
        speech_decoder_prenet_layers=shape.prenet_layers,
        speech_decoder_prenet_units=shape.prenet_units,
        speech_decoder_postnet_layers=shape.postnet_layers,
        speech_decoder_postnet_units=shape.postnet_units,
        speech_decoder_postnet_kernel=shape.postnet_kernel,
        speaker_embedding_dim=shape.speaker,
        max_text_positions=shape.text_positions,
        max_speech_positions=shape.speech_positions,
        encoder_max_relative_position=shape.relative,
    )


def _vocoder_config(shape: Shape) -> SpeechT5HifiGanConfig:
    return SpeechT5HifiGanConfig(
        model_in_dim=shape.mels,
        sampling_rate=shape.rate,
        upsample_initial_channel=shape.channels,
        upsample_rates=list(shape.rates),
        upsample_kernel_sizes=list(shape.kernels),
        resblock_kernel_sizes=list(shape.block_kernels),
        resblock_dilation_sizes=[list(dilations) for dilations in shape.dilations],
        normalize_before=shape.normalize,
    )


def _randomise(model: SpeechT5ForTextToSpeech, shape: Shape) -> None:
    """Give every tensor values that matter: transformers starts them near 0 and 1, where mistakes hide."""
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            fan_in = parameter[0].numel() if "embed" not in name else 1
            parameter.normal_(0, fan_in**-0.5)
        elif "norm.weight" in name:
            parameter.normal_(1, 0.1)
        elif name.endswith("alpha"):
            parameter.fill_(0.8)
        else:
            parameter.normal_(0, 0.1)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_(0, 0.3)
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    _spread_stops(model, shape)


def _spread_stops(model: SpeechT5ForTextToSpeech, shape: Shape) -> None:
    """Give the stop head, which random weights fire never or at once, values that end texts here and there.

    What it says changes no frame, so the texts are spoken once, and the best of a few random heads is kept.
    """
    head = model.speech_decoder_postnet.prob_out
    head.bias.fill_(-1000.0)
    texts: list[list[torch.Tensor]] = []
    hook = head.register_forward_hook(lambda module, given, made: texts[-1].append(given[0][0]))
    with _no_dropout(model):
        for length in (4, 9, 27, 27, 62, 62):
            texts.append([])
            model.generate_speech(torch.randint(4, 60, (1, length)), torch.randn(1, shape.speaker), maxlenratio=6.0)
    hook.remove()
    spoken, best = [torch.stack(text) for text in texts], (-1, head.weight.detach().clone(), 0.0)
    for _ in range(200):
        head.weight.normal_()
        peaks = [(text @ head.weight.T).amax(1) for text in spoken]
        level = float(torch.cat(peaks).quantile(shape.goes_on))
        stops = {int((peak >= level).float().argmax()) for peak in peaks}
        best = max(
            best, (len({stop for stop in stops if stop > 4}), head.weight.clone(), -level), key=lambda try_: try_[0]
        )
    head.weight.copy_(best[1])
    head.bias.fill_(best[2])


@contextmanager
def _no_dropout(model: SpeechT5ForTextToSpeech) -> Iterator[None]:
    """At a dropout of 0 transformers keeps no unit at all (it keeps with the probability to drop): patched by hand."""
    prenet = model.speecht5.decoder.prenet
    prenet._consistent_dropout = lambda hidden, p: hidden
    try:
        yield
    finally:
        del prenet._consistent_dropout


def _randomise_vocoder(vocoder: SpeechT5HifiGan) -> None:
    for name, parameter in vocoder.named_parameters():
        if parameter.dim() == 3:
            fan_in = parameter[0].numel() if "upsampler" not in name else parameter.shape[0] * 2
            parameter.normal_(0, 0.8 * fan_in**-0.5)
        else:
            parameter.normal_(0, 0.05)
    vocoder.mean.normal_(0, 0.5)
    vocoder.scale.uniform_(0.5, 2)


def _save_vocoder(vocoder: SpeechT5HifiGan, folder: Path, form: NormForm) -> None:
    if form == "folded":
        vocoder.save_pretrained(folder)
        return
    vocoder.apply_weight_norm()
    vocoder.config.save_pretrained(folder)
    tensors = vocoder.state_dict()
    if form == "lengths":
        names = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
        for new, old in names.items():
            tensors = {name.replace(new, old): tensor for name, tensor in tensors.items()}
    # Lengths of their own: as torch splits a kernel, they would be the directions' norms and change nothing.
    for name, tensor in tensors.items():
        if name.endswith(("original0", "weight_g")):
            tensor.mul_(torch.empty_like(tensor).uniform_(0.8, 1.2))
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")


def _write_speakers(folder: Path, shape: Shape) -> dict[str, Floats]:
    (folder / "voices").mkdir(exist_ok=True)
    generator = np.random.default_rng(shape.seed)
    speakers = {name: generator.standard_normal(shape.speaker).astype(np.float32) for name in ("ada", "bob")}
    for name, values in speakers.items():
        (folder / "voices" / f"{name}.bin").write_bytes(values.astype("<f4").tobytes())
    return speakers
