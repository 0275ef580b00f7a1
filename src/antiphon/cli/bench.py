"""`antiphon bench`: how much a server or a model gets done, and how long its callers wait. Figures, then one line of JSON.

It knows flags and printing; it must not know HTTP, samples or arithmetic.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from antiphon.benchmark.chart import check_chart, draw_chart
from antiphon.benchmark.clips import Collection, make_clips, parse_lengths, read_clips
from antiphon.benchmark.figures import Figures, Spread, summarise
from antiphon.benchmark.load_generator import OK, REFUSED, Answer, Limit, Outcome, run_clients, run_rate
from antiphon.benchmark.optional import bring
from antiphon.benchmark.sentences import SENTENCES
from antiphon.benchmark.target import InProcess, Target
from antiphon.benchmark.word_errors import WordErrors, count_word_errors
from antiphon.cli.transcribe import DeviceFlag, PrecisionFlag, WeightFlag, report
from antiphon.errors import ConfigError
from antiphon.loader import ESPEAK, LoadOptions, load_sessions
from antiphon.types.options import AudioContext

Job = Literal["transcribe", "speak"]
LENGTHS = "3-5"  # seconds, unless something else is asked for
SECONDS = 30.0  # how long requests are made, unless something bounds them
OF_OPENAI = {"transcribe": "whisper-1", "speak": "tts-1"}

JobArgument = Annotated[Job, typer.Argument(metavar="[transcribe|speak]", help="What is asked for.")]
UrlFlag = Annotated[str, typer.Option("--url", help="A server's base URL; without it a model in this process.")]
ModelFlag = Annotated[str, typer.Option("--model", help="With --url: the model's name there; else OpenAI's own.")]
KeyFlag = Annotated[str, typer.Option("--api-key", envvar="OPENAI_API_KEY", help="With --url: the key.")]
PathFlag = Annotated[str, typer.Option("--model-path", help="Without --url: the model's folder, or espeak.")]
ClientsFlag = Annotated[int, typer.Option("--clients", min=1, help="So many at once, each one thing after another.")]
RateFlag = Annotated[float, typer.Option("--rate", min=0.0, help="Or so many requests a second, whatever happens.")]
RequestsFlag = Annotated[int, typer.Option("--requests", min=0, help="End after so many.")]
SecondsFlag = Annotated[float, typer.Option("--seconds", min=0.0, help="Begin no more after so long; 30 by default.")]
LengthsFlag = Annotated[str, typer.Option("--lengths", help="Of clips made here: seconds, or ranges: 3-5,30.")]
AudioFlag = Annotated[
    list[Path] | None, typer.Option("--audio", help="Files or folders; name.txt says what name.wav says.")
]
TextsFlag = Annotated[Path | None, typer.Option("--texts", help="For speak: a file with a text a line.")]
LanguageFlag = Annotated[str, typer.Option("--language", help="What is spoken; detected when left out.")]
VoiceFlag = Annotated[str, typer.Option("--voice", help="For speak: a voice of the model.")]
TimeoutFlag = Annotated[float, typer.Option("--timeout", min=0.1, help="With --url: seconds to wait for an answer.")]
SeedFlag = Annotated[int, typer.Option("--seed", min=0, help="Draws the clips made here.")]
SlotsFlag = Annotated[int, typer.Option("--slots", min=1, help="Without --url: how many units share a batch.")]
ContextFlag = Annotated[
    AudioContext, typer.Option("--audio-context", help="Without --url: how much a Whisper model hears, as of serve.")
]
ChartFlag = Annotated[Path | None, typer.Option("--chart", help="Draw latency and throughput: a .svg or .png.")]


@dataclass(frozen=True, slots=True)
class Work:
    """What is asked, over and over: a request by its number, what is said in it where that is known, and what it is."""

    ask: Callable[[int], Awaitable[Answer]]
    references: Sequence[str | None]
    told: str


def bench(
    job: JobArgument = "transcribe",
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
    """Ask a server or a model again and again."""
    _check(job, url, model, model_path, clients, rate, lengths, audio, texts, chart)
    if audio_context != "full" and (url or job == "speak"):
        raise ConfigError("--audio_context is for transcribe with a model in this process: leave it out.")
    limit = Limit(requests or math.inf, seconds or (math.inf if requests else SECONDS))
    material = _texts(texts) if job == "speak" else _clips(audio, lengths, seed)
    name = (model or OF_OPENAI[job]) if url else (model_path or ESPEAK)
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
    work = _work(target, material)
    pace = f"{rate:g} requests a second" if rate else f"{clients} client{'s' * (clients > 1)}"
    typer.echo(f"{name} {f'at {url}' if url else 'in this process'}, {pace}; {work.told}")
    outcomes = asyncio.run(_measure(target, work, clients, rate, limit, f"--url {url}" if url else name))
    figures = summarise(outcomes)
    errors = _word_errors(work, outcomes, language)
    _print(figures, errors)
    if chart is not None:
        draw_chart(outcomes, f"{name}, {pace}", chart)
    setting = {"job": job, "url": url, "model": name, "clients": 0 if rate else clients, "rate": rate}
    rounded = _rounded(asdict(figures) | ({} if errors is None else {"wer": errors.rate, "words": errors.words}))
    typer.echo(json.dumps({**setting, "asked": work.told, **rounded}))


def _check(
    job: Job,
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
    """Flags that contradict each other, told before anything is loaded."""
    if url and model_path:
        raise ConfigError("--model_path is for a model in this process: with --url, --model names the server's.")
    if model and not url:
        raise ConfigError("--model is a name a server knows: without --url, --model_path is the folder to load.")
    if job == "transcribe" and not url and not model_path:
        raise ConfigError("No model is named: give --model_path, or a server with --url.")
    if rate and clients > 1:
        raise ConfigError("--clients and --rate are two ways to ask: give one of them.")
    if audio and lengths:
        raise ConfigError("--lengths is of clips made here: leave it out with --audio.")
    if job == "speak" and (audio or lengths):
        raise ConfigError("--audio and --lengths are for transcribe: speak takes --texts.")
    if job == "transcribe" and texts is not None:
        raise ConfigError("--texts is for speak: transcribe takes --audio.")
    if url:
        bring("httpx", "--url")
    if chart is not None:
        check_chart(chart)


def _clips(audio: list[Path] | None, lengths: str, seed: int) -> Collection:
    return read_clips(audio) if audio else make_clips(parse_lengths(lengths or LENGTHS), seed)


def _texts(path: Path | None) -> Sequence[str]:
    if path is None:
        return SENTENCES
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--texts {path}: cannot read it ({error}).") from error
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise ConfigError(f"--texts {path}: there is no text in it.")
    return texts


def _endpoint(url: str, model: str, **options: Any) -> Target:
    from antiphon.benchmark.endpoint import Endpoint  # it needs the extra, which has been asked for

    return Endpoint(url, model, **options)


def _work(target: Target, material: Collection | Sequence[str]) -> Work:
    if not isinstance(material, Collection):
        texts = tuple(material)
        return Work(lambda number: target.speak(texts[number % len(texts)]), (None,), f"{len(texts)} texts")
    clips = material.clips
    lengths = sorted(clip.seconds for clip in clips)
    told = f"{len(clips)} clips of {lengths[0]:.1f} to {lengths[-1]:.1f} s: {material.kind}"
    references = [clip.reference for clip in clips]
    return Work(lambda number: target.transcribe(clips[number % len(clips)]), references, told)


async def _measure(target: Target, work: Work, clients: int, rate: float, limit: Limit, where: str) -> list[Outcome]:
    """The first request is not counted: it warms up, and says what is wrong if nothing can work."""
    try:
        first = await work.ask(0)
        if first.status not in (OK, REFUSED):
            raise ConfigError(f"{where}: the first request failed ({first.status}): {first.text.rstrip('.')}.")
        if rate:
            return await run_rate(work.ask, rate, limit)
        return await run_clients(work.ask, clients, limit)
    finally:
        await target.close()


def _word_errors(work: Work, outcomes: Sequence[Outcome], language: str) -> WordErrors | None:
    """Over all answers to clips whose words are known; None if there are none, or no library to count with."""
    pairs = [
        (reference, outcome.answer.text)
        for outcome in outcomes
        if outcome.answer.status == OK and (reference := work.references[outcome.number % len(work.references)])
    ]
    if not pairs:
        return None
    try:
        return count_word_errors([said for said, _ in pairs], [text for _, text in pairs], language)
    except ConfigError as error:
        typer.echo(f"antiphon: the word error rate is left out: {error}", err=True)
        return None


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


def _seconds(spread: Spread | None) -> str:
    if spread is None:
        return ""
    return f"p50 {spread.p50:.3f} s, p95 {spread.p95:.3f} s, p99 {spread.p99:.3f} s, worst {spread.worst:.3f} s"


def _rounded(value: Any) -> Any:
    """Four digits after the point: the clock is no better."""
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return round(value, 4) if isinstance(value, float) else value
