"""What FFmpeg may open: containers, audio codecs, and how much it may read to find out what a file holds."""

from __future__ import annotations

# FFmpeg's names of the allowed containers. Playlists (hls, concat, dash) would open other files and addresses.
_CONTAINERS = "aac,aiff,amr,asf,au,avi,caf,flac,matroska,mov,mp3,mpegts,ogg,w64,wav"
# The decoders for the codecs that are met in these containers. No video decoder: FFmpeg would run one to find out about a
# video track that stands beside the sound.
_PCM = (
    "alaw bluray f16le f24le f32be f32le f64be f64le mulaw s16be s16be_planar s16le s16le_planar s24be s24le s24le_planar "
    "s32be s32le s32le_planar s64be s64le s8 s8_planar u16be u16le u24be u24le u32be u32le u8 dvd"
)
_ADPCM = "adx ct ima_amv ima_apm ima_oki ima_qt ima_wav ms sbpro_2 sbpro_3 sbpro_4 swf yamaha"
_OTHER = (
    "aac aac_latm ac3 alac als amrnb amrwb ape cook dca eac3 flac g722 g723_1 g726 g726le g729 gsm gsm_ms ilbc "
    "libopencore_amrnb libopencore_amrwb libopus mace3 mace6 mlp mp1 mp1float mp2 mp2float mp3 mp3adu mp3adufloat mp3float "
    "mp3on4 mp3on4float nellymoser opus qcelp qdm2 qdmc s302m speex truehd truespeech tta vorbis wavpack wmalossless wmapro "
    "wmav1 wmav2 wmavoice"
)
CODECS = frozenset(
    [*_OTHER.split(), *(f"pcm_{name}" for name in _PCM.split()), *(f"adpcm_{name}" for name in _ADPCM.split())]
)
_MAX_STREAMS = 64  # films have a dozen languages and their subtitles; a thousand tracks take a gigabyte

_OPTIONS = {
    "format_whitelist": _CONTAINERS,
    "protocol_whitelist": "none",
    "codec_whitelist": ",".join(sorted(CODECS)),
    "max_streams": str(_MAX_STREAMS),
}
# FFmpeg searches up to 32 packets of a wav's PCM for DTS and AC-3, which took 4 of the 5 ms to open a file of 3 s; one packet
# takes a tenth of that. Reading then takes 1.8 ms in packets of 4 kB and 1.4 ms in packets of 8 kB; larger ones take longer
# to probe.
_WAV_OPTIONS = {**_OPTIONS, "max_probe_packets": "1", "max_size": "8192"}


def options_for(head: bytes) -> dict[str, str]:
    """FFmpeg's options for a file that starts with these 12 bytes."""
    return _WAV_OPTIONS if head[:4] == b"RIFF" and head[8:12] == b"WAVE" else _OPTIONS
