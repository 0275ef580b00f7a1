"""Where a file is cut: into runs whose two ends are safe, and nothing left out but what nobody speaks in.

Pure arithmetic on pauses and speech; it must not know models, units or text.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence

from antiphon.transcription.energy import Energy, Span
from antiphon.transcription.vad import Voice
from antiphon.types.audio import SAMPLE_RATE, WINDOW_SAMPLES
from antiphon.types.options import VadOptions

REACH = 10 * SAMPLE_RATE  # samples before the limit in which the longest pause is chosen
EARLIEST_CUT = 5 * SAMPLE_RATE  # samples; a cut before it would buy a whole encoder pass for little audio
DEAD_GAP = SAMPLE_RATE  # samples of dead air, or without speech, at the start of a run worth skipping in a long file
DEAD_MARGIN = SAMPLE_RATE // 2  # samples of dead air kept before sound
LONG_GAP = 8 * SAMPLE_RATE  # samples; speech behind a longer pause is in a window of its own
# Samples; a model that hears a longer pause may take it for the end, so it shall say how far it came. Starter-asr, asked
# for no times, leaves out a sixth of 171 words in pairs of sentences 3 s apart, half of them from 3.5 s on and none at
# 2.5 s; asked, and heard again from where it stopped, none at all.
TELLING_PAUSE = round(2.5 * SAMPLE_RATE)
# Samples of a pause that the run before it takes in at most, where what is left of the pause can be skipped.
HARD_RUN_TAIL = SAMPLE_RATE // 2
NEAR_PAUSE = SAMPLE_RATE // 5  # samples by which the time a model gives for an end may be off
LEAD = round(0.3 * SAMPLE_RATE)  # samples of a pause taken in before what is heard again
# Voice activity that keeps less than this share of a file is not believed, if the file is as lively as speech or song.
LEAST_SHARE = 0.10
LIVELY_SHARE = 0.30


def plan(
    loudness: Energy,
    options: VadOptions = VadOptions(),  # noqa: B008  immutable
    voice: Voice | None = None,
    window: int = WINDOW_SAMPLES,
) -> tuple[Span, ...]:
    """Runs in file order that hold every frame of speech exactly once, as it stands in the file: nothing is spliced.

    A run of at most `window` samples is one window; a longer one has no pause in reach and is decoded as a chain.
    Without a `voice`, every frame above -70 dBFS counts as speech where it comes to leaving it out.
    """
    if options.mode == "none":
        return (Span(0, loudness.total),) if loudness.total else ()
    runs = _Planner(loudness, options, voice, window).runs()
    if voice is not None and _is_doubtful(loudness, voice, runs):
        return _Planner(loudness, options, None, window).runs()
    return runs


def is_searched(total: int, options: VadOptions, window: int = WINDOW_SAMPLES) -> bool:
    """True if somebody is looked for in a file of so many samples: a short one is heard as it is, unless asked."""
    return total > window or options.mode == "always"


def pauses_long(loudness: Energy, start: int, end: int) -> bool:
    """True if what is heard in [start, end) may seem to be over before it is."""
    inside = (pause for pause in loudness.between(start, end) if start < pause.start and pause.end < end)
    return any(pause.end - pause.start > TELLING_PAUSE for pause in inside)


def resume_at(loudness: Energy, voice: Voice | None, closed: int, end: int) -> int:
    """Where what a model left of a window is heard again: in a pause, if there is one where the model says it `closed`.

    Such a time may be off by a fifth of a second, and from within a word another is heard; of a longer pause no more is
    taken in than a model needs. The reference decodes again from `closed` itself.
    """
    near = loudness.between(closed - NEAR_PAUSE, closed + NEAR_PAUSE)
    ahead = [pause for pause in near if pause.end > closed]
    if near:
        pause = ahead[0] if ahead else near[-1]
        return min(end, max(_middle(pause), pause.end - LEAD))
    speech = closed if voice is None else voice.next_speech(closed, end)
    return speech - LEAD if closed + LEAD < speech < end else closed


def _is_doubtful(loudness: Energy, voice: Voice, runs: Sequence[Span]) -> bool:
    """True if voice activity found next to nothing in what is no steady noise: a song, whispering, a strange voice."""
    kept = sum(loudness.sounding_seconds(run.start, run.end) for run in runs)
    # What was left out has been looked at; most of a file that was kept need not be.
    if kept >= loudness.sounding_seconds(0, loudness.total) / 2 or loudness.lively <= LIVELY_SHARE:
        return False
    return voice.share() < LEAST_SHARE


class _Planner:
    """One file's way to its runs."""

    def __init__(self, loudness: Energy, options: VadOptions, voice: Voice | None, window: int) -> None:
        self._loudness = loudness
        self._total = loudness.total
        self._window = window
        cut = is_searched(self._total, options, window)
        self._skips = cut
        self._voice = voice if cut else None
        least = 0 if options.silence is None else round(options.silence * SAMPLE_RATE)
        self._pauses = [pause for pause in loudness.pauses if pause.end - pause.start >= least]
        self._margin = DEAD_MARGIN if self._voice is None else round(options.padding * SAMPLE_RATE)

    def runs(self) -> tuple[Span, ...]:
        runs: list[Span] = []
        position = 0
        while (start := self._start(position)) < self._total:
            position = self._end(start)
            if not self._loudness.dead(start, position):
                runs.append(Span(start, position))
        return tuple(runs)

    def _start(self, position: int) -> int:
        """Where the next run begins: at `position`, unless nobody speaks for a while."""
        if position >= self._total or not (self._skips or position):
            return position
        speech = self._loudness.next_sound(position)
        if self._voice is not None:
            speech = self._voice.next_speech(speech)
        if speech >= self._total:
            return self._total
        return max(position, speech - self._margin) if speech - position > DEAD_GAP else position

    def _end(self, start: int) -> int:
        limit = start + self._window
        if gap := self._long_gap(start, min(limit, self._total)):
            return self._inside(gap)
        if limit >= self._total:
            return self._total
        pauses = self._between(start, limit)
        if late := [pause for pause in pauses if _middle(pause) >= limit - REACH]:
            return _middle(_longest(late))
        if self._voice is not None and (late := self._voice.pauses(limit - REACH, limit)):
            return _middle(_longest(late))
        if early := [pause for pause in pauses if _middle(pause) >= start + EARLIEST_CUT]:
            return _middle(early[-1])
        if self._voice is not None and (early := self._voice.pauses(start + EARLIEST_CUT, limit - REACH)):
            return _middle(early[-1])
        return self._beyond(limit)

    def _between(self, start: int, limit: int) -> list[Span]:
        """The pauses inside a window, as far as they are inside."""
        first = bisect_right(self._pauses, start, key=lambda pause: pause.end)
        beyond = bisect_left(self._pauses, limit, key=lambda pause: pause.start)
        return [Span(max(pause.start, start), min(pause.end, limit)) for pause in self._pauses[first:beyond]]

    def _beyond(self, limit: int) -> int:
        """The end of a run that cannot end within a window: inside the first pause behind it."""
        at = bisect_left(self._pauses, limit, key=lambda pause: pause.start)
        pause = self._pauses[at] if at < len(self._pauses) else Span(self._total, self._total)
        if self._voice is not None:
            for begin in range(limit, pause.start, REACH):
                if found := self._voice.pauses(begin, min(begin + REACH, pause.start)):
                    return self._inside(found[0])
        return self._total if pause.start >= self._total else min(_middle(pause), pause.start + HARD_RUN_TAIL)

    def _long_gap(self, start: int, limit: int) -> Span | None:
        """The first stretch of more than 8 s inside a window in which nobody speaks, but not at its start."""
        reached = start
        for pause in [*self._between(start, limit), Span(limit, limit)]:
            # Fluent speech pauses more often than that; music and a steady noise do not.
            if self._voice is not None and pause.start - reached > LONG_GAP:
                gap = self._voice.long_pause(reached, pause.start, LONG_GAP)
                if gap is not None and gap.start > start:
                    return gap
            if pause.end - pause.start > LONG_GAP and start < pause.start and pause.end < self._total:
                return pause
            reached = pause.end
        return None

    def _inside(self, gap: Span) -> int:
        """Where to cut in a stretch without speech: as early as is safe if the rest of it can be skipped."""
        early = min(_middle(gap), gap.start + HARD_RUN_TAIL)
        skipped = self._voice is not None or self._loudness.next_sound(early) - early > DEAD_GAP
        return early if skipped else _middle(gap)


def _longest(pauses: Sequence[Span]) -> Span:
    """The longest pause, the later of equals."""
    return max(pauses, key=lambda pause: (pause.end - pause.start, pause.start))


def _middle(pause: Span) -> int:
    return (pause.start + pause.end) // 2
