"""Subtitles are parsed by FFmpeg."""

from __future__ import annotations

import io
from dataclasses import replace

import av
import pytest

from antiphon.transcription.subtitles import to_srt, to_vtt, to_word_list
from antiphon.types.results import Segment, Transcript, Word

LINES = (
    (0.0, 1.5, " Good morning."),
    (1.5, 1.5, " Ah!"),
    (59.9996, 61.25, " AT&T is <here>,\n\nand 1 --> 2."),
    (3661.007, 3662.0, " Ya está, señor."),
)


def transcript(*lines: tuple[float, float, str]) -> Transcript:
    segments = tuple(
        Segment(number, 0, start, end, text, (), 0.0, -0.1, 1.0, 0.0) for number, (start, end, text) in enumerate(lines)
    )
    return Transcript("transcribe", "en", 4000.0, "".join(text for _, _, text in lines), segments)


def parsed(subtitles: str, kind: str) -> list[tuple[float, float, str]]:
    """Start, end (seconds) and text of every cue, parsed by FFmpeg."""
    with av.open(io.BytesIO(subtitles.encode()), format=kind) as container:
        packets = [packet for packet in container.demux(subtitles=0) if packet.size]
        return [
            (
                float(packet.pts * packet.time_base),
                float((packet.pts + packet.duration) * packet.time_base),
                bytes(packet).decode(),
            )
            for packet in packets
        ]


def test_srt_is_parsed_by_ffmpeg() -> None:
    cues = parsed(to_srt(transcript(*LINES)), "srt")
    assert [text for _, _, text in cues] == ["Good morning.", "Ah!", "AT&T is <here>, and 1 -> 2.", "Ya está, señor."]
    starts = [start for start, _, _ in cues]
    assert starts == pytest.approx([0.0, 1.5, 60.0, 3661.007], abs=1e-3)
    assert [end for _, end, _ in cues] == pytest.approx([1.5, 1.55, 61.25, 3662.0], abs=1e-3)


def test_vtt_is_parsed_by_ffmpeg() -> None:
    cues = parsed(to_vtt(transcript(*LINES)), "webvtt")
    assert [text for _, _, text in cues] == [
        "Good morning.",
        "Ah!",
        "AT&amp;T is &lt;here&gt;, and 1 -&gt; 2.",
        "Ya está, señor.",
    ]
    assert [start for start, _, _ in cues] == pytest.approx([0.0, 1.5, 60.0, 3661.007], abs=1e-3)


def test_empty_transcript_has_no_cues() -> None:
    assert to_srt(transcript()) == ""
    assert to_vtt(transcript()) == "WEBVTT\n"


def test_word_list_has_one_line_per_word() -> None:
    worded = transcript((0.0, 2.0, " Good morning."))
    words = (Word(" Good", 0.12, 0.5, 0.9), Word(" morning.", 0.5, 1.999, 0.8))
    worded = replace(worded, segments=(replace(worded.segments[0], words=words),))
    assert to_word_list(worded) == "0.12\t0.50\tGood\n0.50\t2.00\tmorning."
    assert to_word_list(transcript()) == ""
