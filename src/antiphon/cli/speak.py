"""`antiphon speak`: a text in, a sound file out, without a server. It plays nothing.

It knows files, terminals and the service; it must not know HTTP or how a model speaks.
"""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from antiphon.audio.encode import AUDIO_FORMATS, AudioFormat
from antiphon.cli.transcribe import DeviceFlag, ModelFlag, PrecisionFlag, WeightFlag, report
from antiphon.errors import ConfigError
from antiphon.loader import ESPEAK, load_session
from antiphon.options import check_task
from antiphon.service import SpeechService
from antiphon.synthesis.output import AudioFileWriter, check_speed
from antiphon.types.options import SpeakOptions

Text = Annotated[str | None, typer.Argument(metavar="TEXT", help="What to say; - is standard input.")]
OutputFlag = Annotated[str, typer.Option("-o", "--output", metavar="FILE", help="Where to; - is standard output.")]
VoiceFlag = Annotated[str, typer.Option("--voice", help="A voice of the model, or one of OpenAI's names.")]
SpeedFlag = Annotated[float, typer.Option("--speed", help="From 0.25 to 4; the pitch stays.")]
SpokenFlag = Annotated[str, typer.Option("--language", help="What the text is written in; chooses the voice.")]
SeedFlag = Annotated[
    int, typer.Option("--seed", help="Makes what is random about a SpeechT5 voice repeatable; espeak takes no seed.")
]
FormatFlag = Annotated[str, typer.Option("--format", help=f"{', '.join(AUDIO_FORMATS)}; else what FILE ends in.")]
ListFlag = Annotated[bool, typer.Option("--list-voices", help="Say nothing, but list the voices of the model.")]
VocoderFlag = Annotated[Path | None, typer.Option("--vocoder", help="The vocoder's folder of a SpeechT5 model.")]


def speak(
    text: Text = None,
    output: OutputFlag = "-",
    model: ModelFlag = ESPEAK,
    voice: VoiceFlag = "",
    speed: SpeedFlag = 1.0,
    language: SpokenFlag = "",
    seed: SeedFlag = 0,
    form: FormatFlag = "",
    vocoder: VocoderFlag = None,
    list_voices: ListFlag = False,
    precision: PrecisionFlag = "auto",
    weight_format: WeightFlag = "auto",
    device: DeviceFlag = "CPU",
) -> None:
    """Say one text."""
    chosen = format_of(output, form)
    check_speed(speed)
    said = "" if list_voices else _text(text, output)
    session = load_session(
        model, precision=precision, weight_format=weight_format, device=device, report=report, vocoder=vocoder
    )
    check_task(session.info, "speak")  # told of this model by name
    if list_voices:
        typer.echo("\n".join(session.info.voices))
        return
    service = SpeechService(max_waiting=sys.maxsize, max_input_characters=sys.maxsize)
    service.load(session)
    try:
        samples = service.speak_blocking(said, None, SpeakOptions(voice or None, language or None, seed))
    finally:
        service.close(drain=False)
    with closing(AudioFileWriter(chosen, session.info.sample_rate, speed)) as recording:
        data = recording.whole(samples)
    _write(output, data)


def _text(text: str | None, output: str) -> str:
    """What is to be said, if there is somewhere for it to go."""
    if text is None:
        raise ConfigError("There is nothing to say: give a TEXT, or - for standard input.")
    if output == "-" and sys.stdout.isatty():
        raise ConfigError("Sound is no use on a terminal: name a file with -o, or pipe the output on.")
    # What is typed is UTF-8 or the terminal's own business; a pipe is taken as UTF-8 whatever the locale says.
    return sys.stdin.buffer.read().decode(errors="replace") if text == "-" else text


def format_of(output: str, form: str) -> AudioFormat:
    """The format that was asked for, or the one a file's name ends in; a wav without either. ConfigError names the others."""
    wanted = form.lower() or Path(output).suffix.lower().removeprefix(".") or "wav"
    # The endings in use for what OpenAI calls opus.
    wanted = "opus" if wanted in ("ogg", "oga") else wanted
    for each in AUDIO_FORMATS:
        if each == wanted:
            return each
    source = f"--format {form}" if form else f"-o {output}"
    raise ConfigError(f"{source}: no such sound format; there are {', '.join(AUDIO_FORMATS)}.")


def _write(output: str, data: bytes) -> None:
    if output == "-":
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        Path(output).write_bytes(data)
    except OSError as error:
        raise ConfigError(f"-o {output}: cannot write it ({error.strerror}).") from error
