"""`antiphon transcribe` and `antiphon translate`: files in, text on stdout, without a server.

It knows files, terminals and the service; it must not know HTTP or how a model decodes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal

import typer

from antiphon.audio.decode import decode
from antiphon.cli.main import FAILED
from antiphon.errors import ConfigError, InvalidAudio
from antiphon.loader import load_session
from antiphon.options import check_task
from antiphon.service import SpeechService
from antiphon.transcription.plan import Progress
from antiphon.transcription.subtitles import to_srt, to_vtt, to_word_list
from antiphon.types.audio import SAMPLE_RATE, Waveform
from antiphon.types.options import Precision, Task, TranscribeOptions, Vad, VadOptions, WeightFormat
from antiphon.types.results import Transcript

_LONG = 120  # seconds of audio; anything shorter is done before a bar could be read

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Audio files; - is standard input.")]
ModelFlag = Annotated[str, typer.Option("--model", help="The folder of the model, or espeak.")]
LanguageFlag = Annotated[str, typer.Option("--language", help="What is spoken; detected when left out.")]
PromptFlag = Annotated[str, typer.Option("--prompt", help="Text that came before, or words to expect.")]
TemperatureFlag = Annotated[float, typer.Option("--temperature", help="0 is greedy; up to 1 samples.")]
FormatFlag = Annotated[Literal["text", "srt", "vtt"], typer.Option("--format", help="Plain words, or subtitles.")]
WordsFlag = Annotated[bool, typer.Option("--words", help="One word a line, with the seconds it begins and ends at.")]
ConditionFlag = Annotated[
    bool,
    typer.Option(
        "--condition-on-previous-text", help="Tell each window of a long file the text before it: one by one."
    ),
]
VadFlag = Annotated[
    Vad,
    typer.Option(
        "--vad", help="How speech is found: by voice activity in long files, or always; by loudness; or not looked for."
    ),
]
PrecisionFlag = Annotated[Precision, typer.Option("--precision", help="The arithmetic.")]
WeightFlag = Annotated[WeightFormat, typer.Option("--weight-format", help="How weights are held in memory.")]
DeviceFlag = Annotated[str, typer.Option("--device", "--target-device", help="The OpenVINO device.")]


def _command(task: Task) -> Callable[..., None]:
    def recognise(
        files: Files,
        model: ModelFlag = "",
        language: LanguageFlag = "",
        prompt: PromptFlag = "",
        temperature: TemperatureFlag = 0.0,
        form: FormatFlag = "text",
        words: WordsFlag = False,
        condition_on_previous_text: ConditionFlag = False,
        vad: VadFlag = "auto",
        precision: PrecisionFlag = "auto",
        weight_format: WeightFlag = "auto",
        device: DeviceFlag = "CPU",
    ) -> None:
        _check(files)
        if not model:
            raise ConfigError("No model is named: name a model with --model.")
        if form != "text" and len(files) > 1:
            raise ConfigError(f"--format {form} is one file's subtitles: name one file at a time.")
        if words and form != "text":
            raise ConfigError(f"--words: {form} has no place for the times of words; leave out --format.")
        session = load_session(
            model,
            precision=precision,
            weight_format=weight_format,
            device=device,
            report=report,
            word_timestamps=words,  # on the GenAI backend they must be asked for before a model is loaded
        )
        check_task(session.info, task)  # told of this model by name, and before a file is decoded
        service = SpeechService(max_waiting=sys.maxsize)
        service.load(session)
        options = TranscribeOptions(
            task,
            language or None,
            prompt or None,
            temperature,
            timestamps=form != "text",
            words=words,
            condition_on_previous_text=condition_on_previous_text,
            vad=VadOptions(vad),
        )
        render = to_word_list if words else RENDERED[form]
        try:
            whole = _recognise(service, files, options, render)
        finally:
            service.close(drain=False)
        if not whole:
            raise typer.Exit(FAILED)

    return recognise


def _words(transcript: Transcript) -> str:
    return transcript.text.strip()


RENDERED: Mapping[str, Callable[[Transcript], str]] = MappingProxyType({"text": _words, "srt": to_srt, "vtt": to_vtt})

transcribe = _command("transcribe")
translate = _command("translate")


def _check(files: list[str]) -> None:
    """A misspelt name is told before the model is loaded."""
    for name in files:
        if name != "-" and Path(name).is_dir():
            raise InvalidAudio(f"{name} is a folder: name the files in it, such as {Path(name) / '*.wav'}")
        if name != "-" and not Path(name).is_file():
            raise InvalidAudio(f"There is no file {name}.")


def report(line: str) -> None:
    """What is chosen while loading, if there is someone to read it; a pipe gets errors only."""
    if sys.stderr.isatty():
        typer.echo(line, err=True)


def _recognise(
    service: SpeechService, files: list[str], options: TranscribeOptions, render: Callable[[Transcript], str]
) -> bool:
    """Print what each file says. One of several that is not audio is told, and does not keep the others back: then False."""
    whole = True
    for name in files:
        try:
            text = render(_recognised(service, name, options))
        except InvalidAudio as error:
            if len(files) == 1:
                raise
            typer.echo(f"antiphon: {error}", err=True)
            whole = False
        else:
            typer.echo(f"# {name}\n{text}" if len(files) > 1 else text.removesuffix("\n"))
    return whole


def _recognised(service: SpeechService, name: str, options: TranscribeOptions) -> Transcript:
    source = sys.stdin.buffer.read() if name == "-" else Path(name)
    try:
        samples = decode(source)
    except InvalidAudio as error:
        raise InvalidAudio(f"{'standard input' if name == '-' else name}: {error}") from error
    with _progress(name, samples) as progress:
        return service.transcribe_blocking(samples, None, options, progress)


@contextmanager
def _progress(name: str, samples: Waveform) -> Iterator[Progress | None]:
    """A bar on stderr for what takes long, if there is someone to watch it."""
    seconds = len(samples) // SAMPLE_RATE
    if seconds < _LONG or not sys.stderr.isatty():
        yield None
        return
    with typer.progressbar(length=seconds, label=name, file=sys.stderr) as bar:
        yield lambda done, _total: bar.update(int(done) - bar.pos)
