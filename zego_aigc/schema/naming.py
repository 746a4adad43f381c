"""Field names: the vendor's ``AgentStreamId`` on the wire, ``agent_stream_id`` in Python.

Both directions are one rule each. ``snake`` splits a wire name before a capital that follows a lower-case letter or
a digit, and before the last capital of a run that a lower-case letter follows. ``wire`` joins the words again,
writing the vendor's acronyms in capitals.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ACRONYMS", "IRREGULAR", "did_you_mean", "snake", "wire"]

ACRONYMS = frozenset({"asr", "cdn", "llm", "rtc", "tts", "ttl", "vad", "zim"})
"""Words that the vendor writes in capitals wherever they stand in a name."""

IRREGULAR = {
    "llm_ttft": "LLMTTFT",
    "llm_tps": "LLMTPS",
    "sequence_id": "SequenceID",
    "extra": "__extra__",  # ours, never sent under a name: see Wire.extra
}
"""Python names whose wire name the rule cannot give (two acronyms in a row, or an odd capital)."""

_SNAKE_OF_IRREGULAR = {name: python for python, name in IRREGULAR.items()}


def snake(name: str) -> str:
    """The Python field name for a wire name: ``LLMMetaInfo`` gives ``llm_meta_info``."""
    if name in _SNAKE_OF_IRREGULAR:
        return _SNAKE_OF_IRREGULAR[name]
    letters: list[str] = []
    for index, letter in enumerate(name):
        if letter.isupper() and index:
            before, after = name[index - 1], name[index + 1 : index + 2]
            if before.islower() or before.isdigit() or (before.isupper() and after.islower()):
                letters.append("_")
        letters.append(letter.lower())
    return "".join(letters)


def wire(name: str) -> str:
    """The wire name for a Python field name: ``llm_meta_info`` gives ``LLMMetaInfo``."""
    if name in IRREGULAR:
        return IRREGULAR[name]
    return "".join(word.upper() if word in ACRONYMS else word.capitalize() for word in name.split("_"))


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``"; did you mean QueryAgents?"`` with the known name that is spelt most like a wrong one, or nothing.

    Capitals and underscores do not count: ``system_prompt`` is close to ``SystemPrompt``.
    """
    import difflib  # only a mistake pays for it

    plain = {each.lower().replace("_", ""): each for each in known}
    close = difflib.get_close_matches(name.lower().replace("_", ""), plain, n=1, cutoff=0.7)
    return f"; did you mean {plain[close[0]]}?" if close else ""
