"""Run the benchmarks: ``python -m benchmarks [--quick] [--json FILE] [--plot FILE] [--docs PAGE] [PART...]``."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import sys
from pathlib import Path

from benchmarks.measure import pin, steady_memory
from benchmarks.plot import bars
from benchmarks.report import Table, as_json, as_text, into_docs, machine

PARTS = {
    "calls": "benchmarks.calls",
    "steps": "benchmarks.steps",
    "uvloop": "benchmarks.on_uvloop",
    "codec": "benchmarks.codec",
    "limiters": "benchmarks.limiting",
    "limits": "benchmarks.limits",
    "provisioning": "benchmarks.provisioning",
    "growth": "benchmarks.growth",
    "imports": "benchmarks.imports",
    "sandbox": "benchmarks.sandboxed",
}


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="What zego_aigc costs, beside what else might be used. Everything stays on loopback.",
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"which parts: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--quick", action="store_true", help="under a minute, to see that everything runs; figures are rough")
    parser.add_argument("--json", metavar="FILE", help="write the figures to FILE as JSON ('-': to standard output, alone)")
    parser.add_argument("--plot", metavar="FILE", help="write a picture of the calls to FILE as SVG")
    parser.add_argument("--pictures", metavar="FOLDER", help="write the pictures of other parts there as PART.svg")
    parser.add_argument("--docs", metavar="PAGE", help="replace the figures in PAGE, and the picture beside it")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    speak = options.json != "-"
    pin(0)
    steady_memory()
    tables: list[Table] = []
    if speak:
        about = machine()
        print(f"{about['processor']}, Python {about['python']}")
        print(", ".join(f"{name} {version}" for name, version in about["packages"].items()), flush=True)
    for part in options.parts or PARTS:
        module = importlib.import_module(PARTS[part])
        with asyncio.Runner(loop_factory=getattr(module, "new_event_loop", None)) as runner:
            made = runner.run(module.run(quick=options.quick))
        tables += made
        if speak:
            print(*(as_text(table) for table in made), sep="\n", flush=True)
    if options.json:
        if speak:
            Path(options.json).write_text(as_json(tables), encoding="utf-8")
        else:
            print(as_json(tables))
    if options.plot:
        Path(options.plot).write_text(bars(tables), encoding="utf-8")
    for table in tables if options.pictures else ():
        if table.picture:
            (Path(options.pictures) / f"{table.part}.svg").write_text(table.picture, encoding="utf-8")
    if options.docs:
        page = Path(options.docs)
        picture = page.with_suffix(".svg")
        page.write_text(into_docs(page.read_text(encoding="utf-8"), tables, picture.name), encoding="utf-8")
        picture.write_text(bars(tables), encoding="utf-8")
        for table in tables:
            if table.picture:
                (page.parent / f"{table.part}.svg").write_text(table.picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
