"""(e) Starting: CPU time and memory of imports, in fresh interpreters."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys

from benchmarks.report import Table, Target

NOTHING = "nothing"
PARTS = "aiohttp + msgspec + anyio"
OURS = "zego_aigc"
CLIENT = "zego_aigc, and a client made"
SUBJECTS = {
    NOTHING: "pass",
    PARTS: "import aiohttp, msgspec, anyio",
    "msgspec": "import msgspec",
    OURS: "import zego_aigc",
    "zego_aigc.callbacks": "import zego_aigc.callbacks",
    CLIENT: "import zego_aigc; zego_aigc.Client(1, 'secret')",
}

_SCRIPT = """
import time
cpu = time.process_time()
{statement}
cpu = time.process_time() - cpu
try:
    pages = int(open('/proc/self/statm').read().split()[1])
    memory = pages * 4096 / 2**20
except OSError:
    import resource
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(cpu * 1000, memory)
"""


def start(statement: str) -> tuple[float, float]:
    """Milliseconds of CPU, and MiB of memory that are resident afterwards."""
    # As installed packages are: compiled, whatever the environment says about writing byte code.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", _SCRIPT.format(statement=statement)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    cpu, memory = done.stdout.split()
    return float(cpu), float(memory)


async def run(*, quick: bool) -> list[Table]:
    """Measure."""
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in SUBJECTS}
    for statement in SUBJECTS.values():
        start(statement)  # byte code is compiled, files are cached
    for _ in range(3 if quick else 15):
        for name, statement in SUBJECTS.items():
            samples[name].append(start(statement))
    ratio = {
        name: statistics.median(cpu / parts for (cpu, _), (parts, _) in zip(taken, samples[PARTS], strict=True))
        for name, taken in samples.items()
    }
    bare = statistics.median(memory for _, memory in samples[NOTHING])
    rows: list[list[str | float | None]] = [
        [
            name,
            statistics.median(cpu for cpu, _ in taken),
            ratio[name],
            statistics.median(memory for _, memory in taken) - bare,
        ]
        for name, taken in samples.items()
        if name != NOTHING
    ]
    return [
        Table(
            part="imports",
            title="Starting: imports in fresh interpreters, beyond Python's own",
            columns=["", "CPU ms", "x the three parts", "MiB"],
            rows=rows,
            targets=[
                Target("import zego_aigc, relative to aiohttp + msgspec + anyio", ratio[OURS], 0.25),
                Target("with a client made", ratio[CLIENT], 1.15),
            ],
        )
    ]
