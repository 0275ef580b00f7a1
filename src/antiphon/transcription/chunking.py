"""Split a file into chunks at pauses, and skip the parts without speech."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from antiphon.transcription.energy import Energy, Span
from antiphon.transcription.vad import SpeechActivity
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES
from antiphon.types.options import VadOptions

# All in samples.
CUT_SEARCH = 10 * SAMPLE_RATE  # a chunk ends in the longest pause of its last 10 s
MIN_CHUNK = 5 * SAMPLE_RATE  # a shorter chunk would cost a whole encoder pass for little audio
MIN_SKIP = SAMPLE_RATE  # skip this much dead air, or audio without speech, before a chunk of a long file
DEAD_AIR_PADDING = SAMPLE_RATE // 2  # of dead air kept before sound
LONG_PAUSE = 8 * SAMPLE_RATE  # speech after a longer pause gets its own window
# A model may take a longer pause for the end of the speech, so timestamps are requested to see how far it came. Starter-asr
# without timestamps drops a sixth of 171 words in pairs of sentences 3 s apart, half of them from 3.5 s on, and none at
# 2.5 s; with timestamps, and decoded again from where it stopped, none at all.
MISLEADING_PAUSE = round(2.5 * SAMPLE_RATE)
MAX_TRAILING_PAUSE = SAMPLE_RATE // 2  # kept at the end of a chunk if the rest of the pause can be skipped
END_TIME_ERROR = SAMPLE_RATE // 5  # by which a model's end time may be off
RESUME_PADDING = round(0.3 * SAMPLE_RATE)  # of a pause decoded again before the speech after it

# VAD that keeps less than this share of a file is not trusted if the file is as dynamic as speech or song.
MIN_TRUSTED_SPEECH_SHARE = 0.10
MIN_DYNAMIC_SHARE = 0.30


def plan_chunks(
    energy: Energy,
    options: VadOptions = VadOptions(),  # noqa: B008  immutable
    activity: SpeechActivity | None = None,
) -> tuple[Span, ...]:
    """Chunks in file order that contain every frame of speech exactly once. Each is contiguous: nothing is spliced.

    A chunk of at most 30 s is decoded as one window; a longer one has no pause to cut in and is decoded as a
    chain of windows. Without `activity`, every frame above -70 dBFS counts as speech when deciding what to skip.
    """
    if options.mode == "none":
        return (Span(0, energy.total),) if energy.total else ()
    chunks = _ChunkPlanner(energy, options, activity).chunks()
    if activity is not None and _is_distrusted(energy, activity, chunks):
        return _ChunkPlanner(energy, options, None).chunks()
    return chunks


def is_scanned(total: int, options: VadOptions) -> bool:
    """True if a file of `total` samples is scanned for speech: one longer than a window, or any with mode "always"."""
    return total > WINDOW_SAMPLES or options.mode == "always"


def has_misleading_pause(energy: Energy, start: int, end: int) -> bool:
    """True if a pause inside [start, end) is long enough for a model to take it for the end of the speech."""
    inside = (pause for pause in energy.pauses_in(start, end) if start < pause.start and pause.end < end)
    return any(pause.end - pause.start > MISLEADING_PAUSE for pause in inside)


def resume_position(energy: Energy, activity: SpeechActivity | None, closed: int, end: int) -> int:
    """Where to decode again what a model left of a window: in a pause near `closed`, its own end time, if there is one.

    End times may be off by 0.2 s, and a window that starts inside a word yields a wrong word; of a longer pause only the
    last 0.3 s are decoded again. (openai-whisper decodes again from `closed` itself.)
    """
    near = energy.pauses_in(closed - END_TIME_ERROR, closed + END_TIME_ERROR)
    ahead = [pause for pause in near if pause.end > closed]
    if near:
        pause = ahead[0] if ahead else near[-1]
        return min(end, max(_middle(pause), pause.end - RESUME_PADDING))
    speech = closed if activity is None else activity.next_speech(closed, end)
    return speech - RESUME_PADDING if closed + RESUME_PADDING < speech < end else closed


def _is_distrusted(energy: Energy, activity: SpeechActivity, chunks: Sequence[Span]) -> bool:
    """True if VAD found almost nothing in a file that is not steady noise: a song, whispering, an unusual voice."""
    kept = sum(energy.audible_seconds(chunk.start, chunk.end) for chunk in chunks)
    # Skipped parts have been analysed already; a file that was mostly kept need not be analysed for this.
    if kept >= energy.audible_seconds(0, energy.total) / 2 or energy.dynamic_share <= MIN_DYNAMIC_SHARE:
        return False
    return activity.share() < MIN_TRUSTED_SPEECH_SHARE


class _ChunkPlanner:
    """The planning of one file."""

    def __init__(self, energy: Energy, options: VadOptions, activity: SpeechActivity | None) -> None:
        self._energy = energy
        self._total = energy.total
        self._scanned = is_scanned(self._total, options)
        self._activity = activity if self._scanned else None
        min_pause = 0 if options.silence is None else round(options.silence * SAMPLE_RATE)
        self._pauses = [pause for pause in energy.pauses if pause.end - pause.start >= min_pause]
        self._padding = DEAD_AIR_PADDING if self._activity is None else round(options.padding * SAMPLE_RATE)

    def chunks(self) -> tuple[Span, ...]:
        chunks: list[Span] = []
        position = 0
        while (start := self._start(position)) < self._total:
            position = self._end(start)
            if not self._energy.is_dead(start, position):
                chunks.append(Span(start, position))
        return tuple(chunks)

    def _start(self, position: int) -> int:
        """Where the next chunk starts: at `position`, or shortly before the next speech if that is far away."""
        if position >= self._total or not (self._scanned or position):
            return position
        speech = self._energy.next_audible(position)
        if self._activity is not None:
            speech = self._activity.next_speech(speech)
        if speech >= self._total:
            return self._total
        return max(position, speech - self._padding) if speech - position > MIN_SKIP else position

    def _end(self, start: int) -> int:
        limit = start + WINDOW_SAMPLES
        if pause := self._long_pause(start, min(limit, self._total)):
            return self._cut_in(pause)
        if limit >= self._total:
            return self._total
        pauses = self._pauses_in(start, limit)
        if late := [pause for pause in pauses if _middle(pause) >= limit - CUT_SEARCH]:
            return _middle(_longest(late))
        if self._activity is not None and (late := self._activity.pauses(limit - CUT_SEARCH, limit)):
            return _middle(_longest(late))
        if early := [pause for pause in pauses if _middle(pause) >= start + MIN_CHUNK]:
            return _middle(early[-1])
        if self._activity is not None and (early := self._activity.pauses(start + MIN_CHUNK, limit - CUT_SEARCH)):
            return _middle(early[-1])
        return self._end_of_chain(limit)

    def _pauses_in(self, start: int, limit: int) -> list[Span]:
        """The pauses of a window, clipped to it."""
        first = bisect_right(self._pauses, start, key=lambda pause: pause.end)
        last = bisect_left(self._pauses, limit, key=lambda pause: pause.start)
        return [Span(max(pause.start, start), min(pause.end, limit)) for pause in self._pauses[first:last]]

    def _end_of_chain(self, limit: int) -> int:
        """The end of a chunk longer than a window: in the first pause after `limit`."""
        at = bisect_left(self._pauses, limit, key=lambda pause: pause.start)
        pause = self._pauses[at] if at < len(self._pauses) else Span(self._total, self._total)
        if self._activity is not None:
            for begin in range(limit, pause.start, CUT_SEARCH):
                if pauses := self._activity.pauses(begin, min(begin + CUT_SEARCH, pause.start)):
                    return self._cut_in(pauses[0])
        return self._total if pause.start >= self._total else min(_middle(pause), pause.start + MAX_TRAILING_PAUSE)

    def _long_pause(self, start: int, limit: int) -> Span | None:
        """The first pause of more than 8 s inside a window, but not at its start."""
        position = start
        for pause in [*self._pauses_in(start, limit), Span(limit, limit)]:
            # Fluent speech has a quiet moment at least every 8 s; where there is none, it may be music or steady noise.
            if self._activity is not None and pause.start - position > LONG_PAUSE:
                found = self._activity.long_pause(position, pause.start, LONG_PAUSE)
                if found is not None and found.start > start:
                    return found
            if pause.end - pause.start > LONG_PAUSE and start < pause.start and pause.end < self._total:
                return pause
            position = pause.end
        return None

    def _cut_in(self, pause: Span) -> int:
        """Where to cut in a pause: as early as is safe if the rest of it can be skipped, else in the middle."""
        early = min(_middle(pause), pause.start + MAX_TRAILING_PAUSE)
        skipped = self._activity is not None or self._energy.next_audible(early) - early > MIN_SKIP
        return early if skipped else _middle(pause)


def _longest(pauses: Sequence[Span]) -> Span:
    """The longest pause, the later one of two equals."""
    return max(pauses, key=lambda pause: (pause.end - pause.start, pause.start))


def _middle(pause: Span) -> int:
    return (pause.start + pause.end) // 2
