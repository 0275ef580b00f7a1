"""How a model's slots are divided between its sessions: one replica for each stream of the device."""

from __future__ import annotations


def replica_slots(slots: int, streams: int) -> list[int]:
    """The slots of each replica: as equal as possible, the larger ones first, and at least one each."""
    least, more = divmod(max(slots, streams), streams)
    return [least + (stream < more) for stream in range(streams)]


def slots_line(slots: int, streams: int) -> str:
    """The number of slots and streams, for a line of the log."""
    return f"{sum(replica_slots(slots, streams))} slots" + (f" in {streams} streams" if streams > 1 else "")
