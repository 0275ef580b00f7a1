"""`antiphon transcribe` and `antiphon translate`: audio files in, text on stdout, without a server."""

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
from antiphon.cli.progress import DownloadBar
from antiphon.errors import ConfigError, InvalidAudio
from antiphon.loader import DEFAULT_RECOGNISER, LoadOptions, load_sessions
from antiphon.model_server import ModelServer
from antiphon.service import SpeechService, TranscribeRequest
from antiphon.transcription.plan import Progress
from antiphon.transcription.subtitles import to_srt, to_vtt, to_word_list
from antiphon.types.audio import SAMPLE_RATE, Waveform
from antiphon.types.options import Precision, Task, TranscribeOptions, Vad, VadOptions, WeightFormat
from antiphon.types.results import Transcript

MIN_PROGRESS_S = 120  # of audio; anything shorter is done before a progress bar could be read

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Audio files; - for standard input.")]
ModelFlag = Annotated[
    str, typer.Option("--model", help="A folder, espeak, or a name that `antiphon models --available` lists.")
]
LanguageFlag = Annotated[str, typer.Option("--language", help="The language spoken; detected by default.")]
PromptFlag = Annotated[str, typer.Option("--prompt", help="The text before the audio, or words to expect.")]
TemperatureFlag = Annotated[
    float, typer.Option("--temperature", help="0 for greedy decoding; above it, up to 1, sampling.")
]
FormatFlag = Annotated[Literal["text", "srt", "vtt"], typer.Option("--format", help="Plain text or subtitles.")]
WordsFlag = Annotated[bool, typer.Option("--words", help="One word per line, with its start and end in seconds.")]
ConditionFlag = Annotated[
    bool,
    typer.Option(
        "--condition-on-previous-text",
        help="Decode the windows of a long file one by one, each with the text before it as its prompt.",
    ),
]
VadFlag = Annotated[
    Vad,
    typer.Option(
        "--vad",
        help="How speech is found: by voice activity in long files (auto) or in all (always), by loudness (energy), "
        "or not at all (none).",
    ),
]
PrecisionFlag = Annotated[Precision, typer.Option("--precision", help="The precision of computation.")]
WeightFlag = Annotated[WeightFormat, typer.Option("--weight-format", help="The format of the weights in memory.")]
DeviceFlag = Annotated[str, typer.Option("--device", "--target-device", help="The OpenVINO device.")]


def _command(task: Task) -> Callable[..., None]:
    def recognise(
        files: Files,
        model: ModelFlag = DEFAULT_RECOGNISER,
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
        if form != "text" and len(files) > 1:
            raise ConfigError(f"--format {form} takes a single file: name one file at a time.")
        if words and form != "text":
            raise ConfigError(f"--words: {form} has no word times; leave out --format.")
        load_options = LoadOptions(
            precision=precision,
            weight_format=weight_format,
            device=device,
            report=report,
            progress=DownloadBar().progress,
            word_timestamps=words,  # the GenAI backend needs the option when a model is loaded
        )
        models = ModelServer()
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
        request = TranscribeRequest(models.add(*load_sessions(model, load_options)).name, options)
        render = to_word_list if words else RENDERED[form]
        try:
            complete = _recognise(SpeechService(models), files, request, render)
        finally:
            models.close(drain=False)
        if not complete:
            raise typer.Exit(FAILED)

    return recognise


def _words(transcript: Transcript) -> str:
    return transcript.text.strip()


RENDERED: Mapping[str, Callable[[Transcript], str]] = MappingProxyType({"text": _words, "srt": to_srt, "vtt": to_vtt})

transcribe = _command("transcribe")
translate = _command("translate")


def _check(files: list[str]) -> None:
    """Report a wrong file name before the model is loaded."""
    for name in files:
        if name != "-" and Path(name).is_dir():
            raise InvalidAudio(f"{name} is a folder: name the files in it, such as {Path(name) / '*.wav'}")
        if name != "-" and not Path(name).is_file():
            raise InvalidAudio(f"There is no file {name}.")


def report(line: str) -> None:
    """Print a line of loading progress if stderr is a terminal; a pipe gets errors only."""
    if sys.stderr.isatty():
        typer.echo(line, err=True)


def _recognise(
    service: SpeechService, files: list[str], request: TranscribeRequest, render: Callable[[Transcript], str]
) -> bool:
    """Print the transcript of each file. Of several files, one that is not audio is reported and skipped: then False."""
    complete = True
    for name in files:
        try:
            text = render(_transcript(service, name, request))
        except InvalidAudio as error:
            if len(files) == 1:
                raise
            typer.echo(f"antiphon: {error}", err=True)
            complete = False
        else:
            typer.echo(f"# {name}\n{text}" if len(files) > 1 else text.removesuffix("\n"))
    return complete


def _transcript(service: SpeechService, name: str, request: TranscribeRequest) -> Transcript:
    with service.admit(request) as admitted:
        source = sys.stdin.buffer.read() if name == "-" else Path(name)
        try:
            samples = decode(source)
        except InvalidAudio as error:
            raise InvalidAudio(f"{'standard input' if name == '-' else name}: {error}") from error
        with _progress(name, samples) as progress:
            return admitted.transcribe_blocking(samples, progress)


@contextmanager
def _progress(name: str, samples: Waveform) -> Iterator[Progress | None]:
    """A progress bar for long audio, if stderr is a terminal."""
    seconds = len(samples) // SAMPLE_RATE
    if seconds < MIN_PROGRESS_S or not sys.stderr.isatty():
        yield None
        return
    with typer.progressbar(length=seconds, label=name, file=sys.stderr) as bar:
        yield lambda done, _total: bar.update(int(done) - bar.pos)
