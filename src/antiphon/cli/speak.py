"""`antiphon speak`: a text in, an audio file out, without a server."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from antiphon.audio.encode import AUDIO_FORMATS, AudioFormat
from antiphon.cli.progress import DownloadBar
from antiphon.cli.transcribe import DeviceFlag, ModelFlag, PrecisionFlag, WeightFlag, report
from antiphon.errors import ConfigError
from antiphon.loader import ESPEAK, LoadOptions, load_sessions
from antiphon.model_server import ModelServer
from antiphon.service import SpeakRequest, SpeechService
from antiphon.synthesis.output import AudioFileWriter
from antiphon.types.options import MAX_SPEED, MIN_SPEED, SpeakOptions

Text = Annotated[str | None, typer.Argument(metavar="TEXT", help="The text to speak; - for standard input.")]
OutputFlag = Annotated[
    str, typer.Option("-o", "--output", metavar="FILE", help="The file to write; - for standard output.")
]
VoiceFlag = Annotated[str, typer.Option("--voice", help="A voice of the model, or one of OpenAI's names.")]
SpeedFlag = Annotated[float, typer.Option("--speed", help=f"From {MIN_SPEED:g} to {MAX_SPEED:g}; the pitch stays.")]
LanguageFlag = Annotated[str, typer.Option("--language", help="The language of the text; selects a voice.")]
SeedFlag = Annotated[int, typer.Option("--seed", help="Makes a SpeechT5 voice repeatable; ignored by eSpeak NG.")]
FormatFlag = Annotated[str, typer.Option("--format", help=f"{', '.join(AUDIO_FORMATS)}; by default what FILE ends in.")]
ListFlag = Annotated[bool, typer.Option("--list-voices", help="List the voices of the model, and exit.")]
VocoderFlag = Annotated[Path | None, typer.Option("--vocoder", help="The folder of a SpeechT5 model's vocoder.")]


def speak(
    text: Text = None,
    output: OutputFlag = "-",
    model: ModelFlag = ESPEAK,
    voice: VoiceFlag = "",
    speed: SpeedFlag = 1.0,
    language: LanguageFlag = "",
    seed: SeedFlag = 0,
    form: FormatFlag = "",
    vocoder: VocoderFlag = None,
    list_voices: ListFlag = False,
    precision: PrecisionFlag = "auto",
    weight_format: WeightFlag = "auto",
    device: DeviceFlag = "CPU",
) -> None:
    """Speak one text."""
    audio_format = format_of(output, form)
    content = "" if list_voices else _text(text, output)
    load_options = LoadOptions(
        precision=precision,
        weight_format=weight_format,
        device=device,
        report=report,
        progress=DownloadBar().progress,
        vocoder=vocoder,
    )
    sessions = load_sessions(model, load_options)
    session = sessions[0]
    if list_voices:
        if not session.info.voices:
            raise ConfigError(f"The model {session.info.name!r} cannot speak, and has no voices.")
        typer.echo("\n".join(session.info.voices))
        return
    models = ModelServer()
    service = SpeechService(models, max_input_characters=sys.maxsize)
    options = SpeakOptions(voice or None, language or None, seed, speed)
    try:
        with service.admit(SpeakRequest(models.add(*sessions).name, content, options)) as admitted:
            samples = admitted.speak_blocking()
    finally:
        models.close(drain=False)
    with closing(AudioFileWriter(audio_format, session.info.sample_rate)) as writer:
        _write(output, writer.whole(samples))


def _text(text: str | None, output: str) -> str:
    """The text to speak. ConfigError if there is none, or if audio would be written to a terminal."""
    if text is None:
        raise ConfigError("There is no text to speak: give a TEXT, or - for standard input.")
    if output == "-" and sys.stdout.isatty():
        raise ConfigError("The output is a terminal: name a file with -o, or pipe the output into a program.")
    # An argument is decoded by the terminal's locale; a pipe is read as UTF-8 whatever the locale.
    return sys.stdin.buffer.read().decode(errors="replace") if text == "-" else text


def format_of(output: str, form: str) -> AudioFormat:
    """The format named `form`, else by the ending of the file `output`, else wav. ConfigError names the valid ones."""
    name = form.lower() or Path(output).suffix.lower().removeprefix(".") or "wav"
    name = "opus" if name in ("ogg", "oga") else name  # the usual file endings of what OpenAI calls opus
    for audio_format in AUDIO_FORMATS:
        if audio_format == name:
            return audio_format
    source = f"--format {form}" if form else f"-o {output}"
    raise ConfigError(f"{source}: no such audio format; use one of: {', '.join(AUDIO_FORMATS)}.")


def _write(output: str, data: bytes) -> None:
    if output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise ConfigError(f"-o {output}: cannot write it ({error.strerror}).") from error
