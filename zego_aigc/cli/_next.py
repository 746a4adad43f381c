"""What to do next, by what a journal says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from zego_aigc.cli._output import command

__all__ = ["next_steps"]

_OPEN = ("failed", "unknown", "pending", "made")
"""What is not done, and was not removed."""


def next_steps(
    counts: Mapping[str, int], journal: str, *, running: bool, until: str | None, in_sandbox: bool = False
) -> Iterator[str]:
    """Sentences for people, the most urgent first, in which commands stay whole.

    Args:
        counts: entries by status.
        journal: the journal's path.
        running: whether a run is going on.
        until: by when the last of what is unknown has ended by itself, if that is known.
        in_sandbox: whether all of it lives, or lived, in a sandbox inside the run alone.
    """
    if in_sandbox:
        yield (
            "a run is going on in a sandbox of its own, and what it makes ends with it; look again"
            if running
            else f"nothing is to be done: this was a trial. Remove {journal}; another run needs another journal"
        )
        return
    again = command(f"zego-aigc provision FLEET --journal {journal}")
    remove = command(f"zego-aigc teardown {journal}")
    if running:
        yield f"a run is going on; look again, or stop it with Ctrl-C there: {again} goes on where it stops"
        return
    if counts.get("failed"):
        yield f"failed: see to the causes above, then {again} tries them again, and nothing else"
    if counts.get("unknown"):
        resolve = command(f"zego-aigc resolve {journal} KEY --id ID")
        ended = f"; unless their users come, they have ended by themselves {until}" if until else ""
        yield (
            f"unknown: {again} looks up what can be looked up. For the rest, the callback AgentInstanceCreated or the console "
            f"tells an id: {resolve}, or --gone where nothing lives{ended}. Before the doors "
            "open, --on-unknown wait waits for that and makes fresh ones"
        )
    if counts.get("pending") or counts.get("made"):
        yield f"pending: {again} goes on"
    removed = counts.get("removed") and counts.get("done")
    if removed:
        # By --only, by --prune, or by a teardown that was stopped: the journal does not say which.
        yield f"removed in part: {remove} removes the rest, too; {again} makes anew what was removed and the fleet still names"
    if not counts:
        yield f"nothing is noted yet: {again} begins"
    elif counts.get("done") and not any(counts.get(status) for status in _OPEN):
        live = command(f"zego-aigc status {journal} --live")
        what = "the rest is done" if removed else "all is done"
        yield f"{what}. {live} asks what is still there, {remove} removes it"
