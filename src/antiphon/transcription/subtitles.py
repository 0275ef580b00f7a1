"""Render a transcript as subtitles (SubRip or WebVTT) or as a list of words."""

from __future__ import annotations

from antiphon.types.results import Segment, Transcript

_MIN_CUE_S = 0.05  # one frame of any film; players do not show cues without a duration


def to_srt(transcript: Transcript) -> str:
    """SubRip: numbered cues, decimal comma, hours always written."""
    cues = [
        f"{number}\n{_span(segment, ',')}\n{_one_line(segment.text)}\n"
        for number, segment in enumerate(transcript.segments, 1)
    ]
    return "\n".join(cues)


def to_vtt(transcript: Transcript) -> str:
    """WebVTT (W3C): `&`, `<` and `>` are markup, so they are escaped."""
    cues = [f"{_span(segment, '.')}\n{_escaped(_one_line(segment.text))}\n" for segment in transcript.segments]
    return "\n".join(["WEBVTT\n", *cues])


def to_word_list(transcript: Transcript) -> str:
    """One line per word: start and end in seconds, and the word, separated by tabs."""
    return "\n".join(f"{word.start:.2f}\t{word.end:.2f}\t{_one_line(word.text)}" for word in transcript.words)


def _span(segment: Segment, point: str) -> str:
    end = max(segment.end, segment.start + _MIN_CUE_S)
    return f"{_clock(segment.start, point)} --> {_clock(end, point)}"


def _clock(seconds: float, point: str) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    minutes, second = divmod(whole, 60)
    hour, minute = divmod(minutes, 60)
    return f"{hour:02d}:{minute:02d}:{second:02d}{point}{milliseconds:03d}"


def _one_line(text: str) -> str:
    """The text on one line: a blank line would end the cue, and in SubRip an arrow would start one."""
    return " ".join(text.split()).replace("-->", "->")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
