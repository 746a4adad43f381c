"""What to do next, by what a journal says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

__all__ = ["next_steps"]


def next_steps(counts: Mapping[str, int], journal: str, *, running: bool, until: str | None) -> Iterator[str]:
    """Sentences, the most urgent first.

    Args:
        counts: entries by status.
        journal: the journal's path.
        running: whether a run is going on.
        until: by when the last of what is unknown has ended by itself, if that is known.
    """
    again = f"zego-aigc provision FLEET --journal {journal}"
    if running:
        yield f"a run is going on; look again, or stop it with Ctrl-C there: {again} goes on where it stops"
        return
    if counts.get("failed"):
        yield f"failed: see to the causes above, then {again} tries them again, and nothing else"
    if counts.get("unknown"):
        ended = f"; unless their users come, they have ended by themselves {until}" if until else ""
        yield (
            f"unknown: {again} looks up what can be looked up. For the rest, the callback AgentInstanceCreated or the console "
            f"tells an id: zego-aigc resolve {journal} KEY --id ID, or --gone where nothing lives{ended}. Before the doors "
            "open, --on-unknown wait waits for that and makes fresh ones"
        )
    if counts.get("pending") or counts.get("made"):
        yield f"pending: {again} goes on"
    if not counts:
        yield f"nothing is noted yet: {again} begins"
    elif not any(counts.get(status) for status in ("failed", "unknown", "pending", "made")) and counts.get("done"):
        live, remove = f"zego-aigc status {journal} --live", f"zego-aigc teardown {journal}"
        yield f"all is done. {live} asks what is still there, {remove} removes it"
