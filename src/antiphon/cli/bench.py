"""`antiphon bench`: measure throughput and latency, or word errors, of a server or a model. The last line is JSON."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from antiphon.benchmark.chart import check_chart, draw_chart
from antiphon.benchmark.clips import ClipSet, make_clips, parse_lengths, read_clips
from antiphon.benchmark.figures import Figures, Percentiles, summarise
from antiphon.benchmark.load_generator import (
    OK,
    REFUSED,
    Limit,
    Measurement,
    Response,
    run_closed_loop,
    run_open_loop,
)
from antiphon.benchmark.optional import import_extra
from antiphon.benchmark.sentences import SENTENCES
from antiphon.benchmark.target import InProcess, Target
from antiphon.benchmark.word_errors import WordErrors, count_word_errors
from antiphon.cli.bench_wer import check_wer, measure_wer, round_floats
from antiphon.cli.transcribe import DeviceFlag, PrecisionFlag, WeightFlag, report
from antiphon.errors import ConfigError
from antiphon.languages import normalise
from antiphon.loader import DEFAULT_RECOGNISER, ESPEAK, LoadOptions, load_sessions
from antiphon.types.options import AudioContext

BenchTask = Literal["transcribe", "speak", "wer"]
DEFAULT_LENGTHS = "3-5"  # seconds
DEFAULT_DURATION_S = 30.0  # if neither --requests nor --seconds is given
DEFAULT_MODELS = {"transcribe": DEFAULT_RECOGNISER, "speak": ESPEAK, "wer": DEFAULT_RECOGNISER}
OPENAI_MODELS = {"transcribe": "whisper-1", "speak": "tts-1", "wer": "whisper-1"}

TaskArgument = Annotated[BenchTask, typer.Argument(metavar="[transcribe|speak|wer]", help="What to measure.")]
UrlFlag = Annotated[str, typer.Option("--url", help="Base URL of a server. Default: load a model in this process.")]
ModelFlag = Annotated[str, typer.Option("--model", help="With --url: model name. Default: OpenAI's own.")]
KeyFlag = Annotated[str, typer.Option("--api-key", envvar="OPENAI_API_KEY", help="With --url: API key.")]
PathFlag = Annotated[str, typer.Option("--model-path", help="Without --url: model folder, or espeak.")]
ClientsFlag = Annotated[
    int, typer.Option("--clients", min=1, help="Concurrent clients, each waiting for its response.")
]
RateFlag = Annotated[float, typer.Option("--rate", min=0.0, help="Requests a second, instead of --clients.")]
RequestsFlag = Annotated[int, typer.Option("--requests", min=0, help="Stop after this many requests.")]
SecondsFlag = Annotated[
    float, typer.Option("--seconds", min=0.0, help="Stop sending requests after this time. Default: 30.")
]
LengthsFlag = Annotated[str, typer.Option("--lengths", help="Lengths of generated clips in seconds, such as 3-5,30.")]
AudioFlag = Annotated[
    list[Path] | None,
    typer.Option(
        "--audio",
        help="Files or folders to send; name.txt has the text of name.wav. For wer, "
        "a folder named de holds German, also inside a given folder.",
    ),
]
TextsFlag = Annotated[Path | None, typer.Option("--texts", help="For speak: a file with one text per line.")]
LanguageFlag = Annotated[str, typer.Option("--language", help="The language of the audio. Default: detect it.")]
VoiceFlag = Annotated[str, typer.Option("--voice", help="For speak: one of the model's voices.")]
TimeoutFlag = Annotated[float, typer.Option("--timeout", min=0.1, help="With --url: timeout of a request in seconds.")]
SeedFlag = Annotated[int, typer.Option("--seed", min=0, help="Seed for generated clips.")]
SlotsFlag = Annotated[int, typer.Option("--slots", min=1, help="Without --url: maximum batch size.")]
ContextFlag = Annotated[
    AudioContext, typer.Option("--audio-context", help="Without --url: length of audio Whisper encodes, as in serve.")
]
ChartFlag = Annotated[
    Path | None, typer.Option("--chart", help="Draw latency and throughput to this .svg or .png file.")
]


@dataclass(frozen=True, slots=True)
class Workload:
    """The requests of a benchmark: `send` takes a number; `references` repeat and are None where the text is unknown."""

    send: Callable[[int], Awaitable[Response]]
    references: Sequence[str | None]
    description: str


def bench(
    task: TaskArgument = "transcribe",
    url: UrlFlag = "",
    model: ModelFlag = "",
    api_key: KeyFlag = "",
    model_path: PathFlag = "",
    clients: ClientsFlag = 1,
    rate: RateFlag = 0.0,
    requests: RequestsFlag = 0,
    seconds: SecondsFlag = 0.0,
    lengths: LengthsFlag = "",
    audio: AudioFlag = None,
    texts: TextsFlag = None,
    language: LanguageFlag = "",
    voice: VoiceFlag = "",
    timeout: TimeoutFlag = 300.0,
    seed: SeedFlag = 0,
    slots: SlotsFlag = 16,
    chart: ChartFlag = None,
    precision: PrecisionFlag = "auto",
    weight_format: WeightFlag = "auto",
    device: DeviceFlag = "CPU",
    audio_context: ContextFlag = "full",
) -> None:
    """Measure the throughput and latency of a server or a model, or its word error rate in each language."""
    _check(task, url, model, model_path, clients, rate, lengths, audio, texts, chart)
    if audio_context != "full" and (url or task == "speak"):
        raise ConfigError("only for transcribe with a model in this process.", setting="audio_context")
    if task == "wer":
        check_wer(audio, rate=rate, requests=requests, seconds=seconds, chart=chart)
    limit = Limit(requests or math.inf, seconds or (math.inf if requests else DEFAULT_DURATION_S))
    inputs = _read_texts(texts) if task == "speak" else _clips(audio, lengths, seed, by_language=task == "wer")
    name = (model or OPENAI_MODELS[task]) if url else (model_path or DEFAULT_MODELS[task])
    if url:
        target = _endpoint(url, name, api_key=api_key, language=language, voice=voice, timeout=timeout)
    else:
        options = LoadOptions(
            precision=precision,
            weight_format=weight_format,
            device=device,
            slots=slots,
            report=report,
            audio_context=audio_context,
        )
        target = InProcess(load_sessions(name, options), language=language, voice=voice)
    language = normalise(language) or language  # words are counted by code; servers are sent what was given
    where = f"{name} {f'at {url}' if url else 'in this process'}"
    if isinstance(inputs, ClipSet) and task == "wer":
        measure_wer(target, inputs, clients, language, {"url": url, "model": name}, where)
        return
    workload = _workload(target, inputs)
    load = f"{rate:g} requests a second" if rate else f"{clients} client{'s' * (clients > 1)}"
    typer.echo(f"{where}, {load}; {workload.description}")
    measurements = asyncio.run(_measure(target, workload, clients, rate, limit, f"--url {url}" if url else name))
    parameters = {"job": task, "url": url, "model": name, "clients": 0 if rate else clients, "rate": rate}
    _report(measurements, workload, language, parameters)
    if chart is not None:
        draw_chart(measurements, f"{name}, {load}", chart)


def _check(
    task: BenchTask,
    url: str,
    model: str,
    model_path: str,
    clients: int,
    rate: float,
    lengths: str,
    audio: list[Path] | None,
    texts: Path | None,
    chart: Path | None,
) -> None:
    """Raise ConfigError for contradictory options before anything is loaded."""
    if url and model_path:
        raise ConfigError("only for a model in this process; with --url, use --model.", setting="model_path")
    if model and not url:
        raise ConfigError("the name of a model on a server; without --url, use --model_path.", setting="model")
    if rate and clients > 1:
        raise ConfigError("--clients and --rate cannot be combined.")
    if audio and lengths:
        raise ConfigError("only for generated clips; leave it out with --audio.", setting="lengths")
    if task == "speak" and (audio or lengths):
        raise ConfigError("--audio and --lengths are for transcribe; speak takes --texts.")
    if task != "speak" and texts is not None:
        raise ConfigError("only for speak; transcribe takes --audio.", setting="texts")
    if url:
        import_extra("httpx", setting="url")
    if chart is not None:
        check_chart(chart)


def _clips(audio: list[Path] | None, lengths: str, seed: int, *, by_language: bool) -> ClipSet:
    if audio:
        return read_clips(audio, by_language=by_language)
    return make_clips(parse_lengths(lengths or DEFAULT_LENGTHS), seed)


def _read_texts(path: Path | None) -> Sequence[str]:
    if path is None:
        return SENTENCES
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}).", setting="texts") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ConfigError(f"{path} contains no text.", setting="texts")
    return texts


def _endpoint(url: str, model: str, **options: Any) -> Target:
    from antiphon.benchmark.endpoint import Endpoint  # needs httpx, which _check has imported

    return Endpoint(url, model, **options)


def _workload(target: Target, inputs: ClipSet | Sequence[str]) -> Workload:
    if not isinstance(inputs, ClipSet):
        texts = tuple(inputs)
        return Workload(lambda number: target.speak(texts[number % len(texts)]), (None,), f"{len(texts)} texts")
    clips = inputs.clips
    lengths = sorted(clip.seconds for clip in clips)
    description = f"{len(clips)} clips of {lengths[0]:.1f} to {lengths[-1]:.1f} s: {inputs.kind}"
    references = [clip.reference for clip in clips]
    return Workload(lambda number: target.transcribe(clips[number % len(clips)]), references, description)


async def _measure(
    target: Target, workload: Workload, clients: int, rate: float, limit: Limit, name: str
) -> list[Measurement]:
    """Send one warm-up request that is not measured, and stop with its error if it fails; then run the load."""
    try:
        first = await workload.send(0)
        if first.status not in (OK, REFUSED):
            raise ConfigError(f"{name}: the first request failed ({first.status}): {first.text.rstrip('.')}.")
        if rate:
            return await run_open_loop(workload.send, rate, limit)
        return await run_closed_loop(workload.send, clients, limit)
    finally:
        await target.close()


def _word_errors(workload: Workload, measurements: Sequence[Measurement], language: str) -> WordErrors | None:
    """The word errors of all transcripts with a known reference; None without any, or without the libraries."""
    references = workload.references
    pairs = [
        (reference, request.response.text)
        for request in measurements
        if request.response.status == OK and (reference := references[request.number % len(references)])
    ]
    if not pairs:
        return None
    try:
        return count_word_errors([reference for reference, _ in pairs], [text for _, text in pairs], language)
    except ConfigError as error:
        typer.echo(f"antiphon: the word error rate is left out: {error}", err=True)
        return None


def _report(
    measurements: Sequence[Measurement], workload: Workload, language: str, parameters: Mapping[str, object]
) -> None:
    """Print the figures, and all of it as a line of JSON."""
    figures = summarise(measurements)
    errors = _word_errors(workload, measurements, language)
    _print(figures, errors)
    rounded = round_floats(asdict(figures) | ({} if errors is None else {"wer": errors.rate, "words": errors.words}))
    typer.echo(json.dumps({**parameters, "asked": workload.description, **rounded}))


def _print(figures: Figures, errors: WordErrors | None) -> None:
    rows = [
        ("requests", f"{figures.requests} in {figures.seconds:.1f} s: {_statuses(figures)}"),
        (
            "throughput",
            f"{figures.rtfx:.1f} seconds of audio a second (RTFx), {figures.requests_per_second:.2f} requests a second",
        ),
        ("latency", _seconds(figures.latency)),
        ("first audio", _seconds(figures.first_audio)),
        ("refusal", _seconds(figures.refusal)),
        ("words wrong", f"{errors.rate:.1%} of {errors.words} (WER)" if errors else ""),
    ]
    for name, text in rows:
        if text:
            typer.echo(f"{name:<12}{text}")


def _statuses(figures: Figures) -> str:
    parts = [f"{figures.answered} answered", f"{figures.refused} refused (429)"]
    parts += [f"{count} {status}" for status, count in figures.statuses.items() if status not in (OK, REFUSED)]
    return ", ".join(parts)


def _seconds(values: Percentiles | None) -> str:
    if values is None:
        return ""
    return f"p50 {values.p50:.3f} s, p95 {values.p95:.3f} s, p99 {values.p99:.3f} s, worst {values.worst:.3f} s"
