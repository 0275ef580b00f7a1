"""Decoding of uploads in helper processes: limits, deaths, cancellation, and short audio beside long audio."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon.audio.decode import decode
from antiphon.audio.decode_in_helper import HelperMisbehaved, decode_in_helper
from antiphon.errors import EngineFailed, InvalidAudio, TooLarge, Unavailable
from antiphon.isolation.pool import Helper
from antiphon.server.requests import upload
from antiphon.server.requests.upload import Decoders
from antiphon.types.audio import Waveform
from tests.support import hostile_audio
from tests.support.sounds import USUAL_FORMATS, encode, make_audio

CLIP = make_audio(0.5)
LINUX = sys.platform == "linux"


@pytest.fixture(scope="module")
def shared() -> Iterator[Decoders]:
    """Two helpers for each class, for tests that leave them as they were."""
    decoders = Decoders(4)
    decoders.start()
    yield decoders
    decoders.close()


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    decoders = Decoders(2)
    yield decoders
    decoders.close()


def run(decoders: Decoders, data: bytes, max_seconds: float = 14_400.0) -> Waveform:
    return asyncio.run(decoders.decode(io.BytesIO(data), max_seconds=max_seconds))


def helpers(decoders: Decoders) -> list[int]:
    return [helper.pid for each in (decoders._short, decoders._long) for helper in each._helpers._idle]


@pytest.mark.parametrize(("container", "codec"), USUAL_FORMATS)
def test_samples_are_those_of_decoding_in_process(shared: Decoders, container: str, codec: str) -> None:
    data = make_audio(3.0, container, codec, rate=48_000, channels=2)
    np.testing.assert_array_equal(run(shared, data)[:], decode(data)[:])


@pytest.mark.parametrize("container", ["wav", "mp4"])
def test_file_larger_than_the_first_message_is_decoded(shared: Decoders, container: str) -> None:
    """The tables of an mp4 are at its end."""
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (1, 50 * 44_100)).astype(np.float32)
    codec = {"wav": "pcm_s16le", "mp4": "alac"}[container]
    data = encode(noise, 44_100, container, codec)
    assert len(data) > 3 << 20
    np.testing.assert_array_equal(run(shared, data)[:], decode(data)[:])


def test_errors_are_those_of_decoding_in_process(shared: Decoders) -> None:
    with pytest.raises(InvalidAudio, match="not audio") as caught:
        run(shared, b"not audio at all")
    assert (caught.value.param, caught.value.code) == ("file", "invalid_audio")
    with pytest.raises(TooLarge, match="longer than the 2 seconds") as too_large:
        run(shared, make_audio(3.0), max_seconds=2.0)
    assert (too_large.value.param, too_large.value.code) == ("file", "audio_too_long")
    with pytest.raises(InvalidAudio, match="empty"):
        run(shared, b"")


@pytest.mark.skipif(not LINUX, reason="only Linux limits the memory of a process")
@pytest.mark.parametrize(
    "make",
    [
        hostile_audio.fragment_bomb,
        lambda: hostile_audio.fragment_bomb(89_000_000),
        hostile_audio.sample_table_bomb,
        hostile_audio.compressed_header_bomb,
        hostile_audio.many_tracks,
        hostile_audio.many_channels,
        lambda: hostile_audio.with_video("matroska"),
    ],
    ids=["trun", "larger-trun", "stsz", "cmov", "tracks", "channels", "video"],
)
def test_memory_of_an_upload_is_bounded_by_its_size(shared: Decoders, make: Callable[[], bytes]) -> None:
    data = make()
    run(shared, CLIP)
    before = {pid: reset_peak(pid) for pid in helpers(shared)}
    with contextlib.suppress(InvalidAudio):
        run(shared, data)
    assert helpers(shared)[0] in before, "the helper died"
    growth = max(peak(pid) - start for pid, start in before.items())
    assert growth < (64 << 20) + 8 * len(data)


def reset_peak(pid: int) -> int:
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    return peak(pid)


def peak(pid: int) -> int:
    """The largest resident set, in bytes."""
    return int(Path(f"/proc/{pid}/status").read_text().split("VmHWM:")[1].split()[0]) << 10


@pytest.mark.parametrize("layout", ["7.1.4", "hexadecagonal", "22.2"])
def test_many_channels_are_decoded(shared: Decoders, layout: str) -> None:
    before = helpers(shared)
    assert len(run(shared, hostile_audio.many_channels(layout))) == 6_400
    assert set(before) <= set(helpers(shared))


def test_64_bit_integers_are_decoded(shared: Decoders) -> None:
    samples = run(shared, hostile_audio.wav_of_64_bit_integers())[:]
    assert len(samples) == 8_000
    assert np.abs(samples).max() == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize("container", ["mp4", "matroska", "mpegts"])
def test_sound_beside_video_is_decoded(shared: Decoders, container: str) -> None:
    assert len(run(shared, hostile_audio.with_video(container, 320))) > 7_500


def test_file_that_uses_up_its_time_is_400(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the short class it only moves to the long one."""
    classes: list[bool] = []

    def out_of_time(helper: Helper, file: Any, *, max_seconds: float, short: bool) -> Any:
        classes.append(short)
        os.kill(helper.pid, signal.SIGPROF)
        return helper.receive()

    monkeypatch.setattr(upload, "decode_in_helper", out_of_time)
    with pytest.raises(InvalidAudio, match="takes more time to decode"):
        run(decoders, CLIP)
    assert classes == [True, False]


def test_request_is_cancelled_whatever_the_decoder_does(decoders: Decoders) -> None:
    """FFmpeg is two minutes in one call. The file is not read after the end of the request."""
    reads: list[float] = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            reads.append(time.monotonic())
            return super().read(size)

    async def cancel() -> tuple[float, float]:
        file = Watched(hostile_audio.aiff_tags(100_000))
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(decoders.decode(file, max_seconds=60.0), 1.5)
        return start, time.monotonic()

    start, end = asyncio.run(cancel())
    assert end - start < 20  # not two minutes; the machine may be slow
    assert max(reads) <= end
    assert len(run(decoders, CLIP)) == 8_000


@pytest.mark.parametrize("how", ["crash", "exception"])
def test_death_of_a_helper_is_400_with_one_log_line(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    def fatal(helper: Helper, file: Any, *, max_seconds: float, short: bool) -> Any:
        if how == "crash":
            os.kill(helper.pid, signal.SIGSEGV)
            return helper.receive()
        raise HelperMisbehaved("nonsense")

    with monkeypatch.context() as patched, caplog.at_level("WARNING"):
        patched.setattr(upload, "decode_in_helper", fatal)
        with pytest.raises(InvalidAudio, match="The file made the decoder fail"):
            run(decoders, CLIP)
    assert len(caplog.records) == 1
    assert len(run(decoders, CLIP)) == 8_000


def test_helper_that_cannot_start_is_500(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A module is missing, for instance: no file is at fault."""
    monkeypatch.setattr(upload, "HELPER_MODULE", "antiphon.audio.no_such_helper")
    decoders = Decoders(2)
    try:
        with pytest.raises(EngineFailed, match="status 1"):
            run(decoders, CLIP)
    finally:
        decoders.close()
    assert "ended its decoder: status 1" in caplog.text


def test_refused_file_does_not_cost_its_helper(decoders: Decoders) -> None:
    run(decoders, CLIP)
    before = helpers(decoders)
    for data in (b"junk", b"", CLIP[:1_000], make_audio(3.0)):
        with pytest.raises((InvalidAudio, TooLarge)):
            run(decoders, data, max_seconds=1.0)
    assert helpers(decoders) == before


def test_cancelled_decoding_leaves_no_exception_behind(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[dict[str, Any]] = []

    async def hang_up() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))
        inside = asyncio.Event()
        loop = asyncio.get_running_loop()

        def endless(helper: Helper, _file: Any, **_: Any) -> Any:
            loop.call_soon_threadsafe(inside.set)
            return helper.receive()

        monkeypatch.setattr(upload, "decode_in_helper", endless)
        tasks = [asyncio.create_task(decoders.decode(io.BytesIO(CLIP), max_seconds=9.0)) for _ in range(3)]
        await inside.wait()  # one runs, the others wait for the only helper
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert all(task.cancelled() for task in tasks)
        del tasks
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(hang_up())
    gc.collect()
    assert reported == []
    monkeypatch.undo()
    assert len(run(decoders, CLIP)) == 8_000


def test_short_clip_beside_long_ones_is_not_delayed(decoders: Decoders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight files of 11 kB hold 3.9 hours each. Their one helper stays with the first until the clip is decoded."""
    bomb = hostile_audio.long_silence()
    assert len(bomb) < 100_000

    async def race() -> None:
        loop, occupied, clip_done = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        def held(helper: Helper, file: Any, *, max_seconds: float, short: bool) -> Any:
            if not short:
                loop.call_soon_threadsafe(occupied.set)
                asyncio.run_coroutine_threadsafe(clip_done.wait(), loop).result(60)
            return decode_in_helper(helper, file, max_seconds=max_seconds, short=short)

        monkeypatch.setattr(upload, "decode_in_helper", held)
        long = [asyncio.create_task(decoders.decode(io.BytesIO(bomb), max_seconds=14_400.0)) for _ in range(8)]
        await occupied.wait()
        assert len(await decoders.decode(io.BytesIO(CLIP), max_seconds=60.0)) == 8_000
        assert not any(task.done() for task in long)
        for task in long:
            task.cancel()
        clip_done.set()
        await asyncio.gather(*long, return_exceptions=True)

    asyncio.run(race())


def test_long_audio_is_decoded_whole(shared: Decoders) -> None:
    data = make_audio(61.0, codec="pcm_mulaw", rate=8_000)
    assert len(run(shared, data)) == 61 * 16_000


def test_closed_decoders_are_unavailable() -> None:
    decoders = Decoders(2)
    decoders.start()
    decoders.close()
    with pytest.raises((Unavailable, RuntimeError)):
        run(decoders, CLIP)
