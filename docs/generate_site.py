"""What the site holds beside the pages in ``docs/``: mkdocs runs this file as a hook (see ``mkdocs.yml``).

Pages are made of what is the truth already: the reference of code, README.md and its siblings of themselves. Nothing of it is
stored. Links work both ways: a page's link to a file of the project, as one follows it in a clone, leads to that file's
page in the site.
"""

from __future__ import annotations

import ast
import itertools
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from docstrings import fenced
from drawing import from_mermaid
from generate_actions import action_pages
from generate_reference import class_paths, reference_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from zego_aigc.schema.codes import RETURN_CODES

ROOT = Path(__file__).parent.parent

BESIDE = {
    "README.md": "first-steps.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
"""Pages outside ``docs/``, and where they stand in the site."""

COOKBOOK = """\
Short programs, each complete. Start `zego-aigc sandbox` in a terminal and paste the `export` lines that it prints into another
one: each program then runs as it stands, and the tests run all of them. For the service itself, set `ZEGO_APP_ID` and
`ZEGO_SERVER_SECRET`.
"""

LANGUAGES = {".py": "python", ".toml": "toml", ".js": "javascript", ".html": "html", ".css": "css"}

LINK = re.compile(r"(\]\()(?!\w+:|#)([^)\s#]+)(#[^)\s]*)?(\))")
MERMAID = re.compile(r"^```mermaid\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NAMED = re.compile(r"\[[^\]]*\]\([^)]*\)|`(?P<name>[A-Z]\w+)`|`[^`]*`|\b(?P<code>\d{9})\b")
"""Links and code, which are left alone, and what is named."""

FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are generated."""
    for uri, text in (*reference_pages(), *action_pages(), *pages_beside(), *programs(), *cookbook()):
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files of the project lead to their pages in the site, and draw what is in Mermaid's notation."""
    numbers = itertools.count(1)

    def draw(found: re.Match[str]) -> str:
        name = f"{page.file.name}-{next(numbers)}.svg"
        drawing = from_mermaid(found[1])
        files.append(File.generated(config, str(PurePosixPath(page.file.src_uri).with_name(name)), content=drawing.svg()))
        return f"![{drawing.about}]({name})"

    return MERMAID.sub(draw, cross_referenced(relinked(markdown, page.file.src_uri), page.file.src_uri))


def pages_beside() -> Iterator[tuple[str, str]]:
    """README.md and its siblings."""
    for name, uri in BESIDE.items():
        yield uri, (ROOT / name).read_text(encoding="utf-8")


def programs() -> Iterator[tuple[str, str]]:
    """A page for each program, package or fleet file that a page links to."""
    for path in sorted({target for page in written() for target in targets(page)}):
        file = ROOT / path
        title, parts = (path, [file]) if file.name != "__init__.py" else (str(PurePosixPath(path).parent), package(file.parent))
        text = [f"# `{title}`\n"]
        for part in parts:
            if part != file:
                text.append(f"## `{part.relative_to(file.parent)}`\n")
            text += listing(part)
        yield f"{path}.md", "\n".join(text)


def package(folder: Path) -> list[Path]:
    """The files of a program that is a package, those that say what it is first."""
    first = ("__init__.py", "app.py", "routes.py")
    found = (path for path in folder.rglob("*") if path.suffix in LANGUAGES)
    return sorted(found, key=lambda path: (path.name not in first, path.parent != folder, path.name))


def cookbook() -> Iterator[tuple[str, str]]:
    """Short programs, each under what it is for."""
    text = ["# Cookbook\n", COOKBOOK]
    for file in sorted((ROOT / "examples" / "cookbook").glob("*.py")):
        title, about, code = parts_of(file)
        text.append(f'## {title.rstrip(".")}\n\n{about}\n\n```python title="examples/cookbook/{file.name}"\n{code}```\n')
    yield "cookbook.md", "\n".join(text)


def listing(file: Path) -> Iterator[str]:
    """A file's text, after what it says of itself."""
    if file.suffix != ".py":
        yield f"```{LANGUAGES.get(file.suffix, 'text')}\n{file.read_text(encoding='utf-8')}```\n"
        return
    title, about, code = parts_of(file)
    yield f"{title}\n\n{about}\n"
    if code:
        yield f"```python\n{code}```\n"


def parts_of(program: Path) -> tuple[str, str, str]:
    """The first line of a program's docstring, the rest of it, and the code."""
    source = program.read_text(encoding="utf-8")
    title, _, about = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")
    return title, fenced(about, "sh"), re.sub(r'\A""".*?"""\n*', "", source, flags=re.DOTALL)


def written() -> Iterator[Path]:
    """Every page that is written by hand."""
    yield from (ROOT / "docs").rglob("*.md")
    yield from (ROOT / name for name in BESIDE)


def targets(page: Path) -> Iterator[str]:
    """The files of the project, neither pages nor in ``docs/``, that a page links to."""
    for _, target, _, _ in LINK.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
        path = Path(os.path.normpath(page.parent / target)).relative_to(ROOT)
        if path.parts[0] != "docs" and path.suffix != ".md" and (ROOT / path).is_file():
            yield path.as_posix()


def relinked(markdown: str, uri: str) -> str:
    """A page's text with its links as the site needs them."""
    here = PurePosixPath(next((name for name, page in BESIDE.items() if page == uri), f"docs/{uri}")).parent

    def link(found: re.Match[str]) -> str:
        before, target, anchor, after = found.groups()
        place = site_uri(os.path.normpath(here / target))
        return f"{before}{os.path.relpath(place, PurePosixPath(uri).parent)}{anchor or ''}{after}"

    return in_prose(LINK, link, markdown)


def cross_referenced(markdown: str, uri: str) -> str:
    """A page's text, in which the names of public classes and the vendor's codes lead to the reference."""
    if uri.startswith("reference/"):
        return markdown
    codes = os.path.relpath("reference/codes.md", PurePosixPath(uri).parent)

    def link(found: re.Match[str]) -> str:
        name, code = found["name"], found["code"]
        if name in class_paths():
            return f"[`{name}`][{class_paths()[name]}]"
        return f"[{code}]({codes}#code-{code})" if code and int(code) in RETURN_CODES else found[0]

    return in_prose(NAMED, link, markdown)


def in_prose(pattern: re.Pattern[str], replace: Callable[[re.Match[str]], str], markdown: str) -> str:
    """Replace what matches outside blocks of code and headings, whose text is their anchor."""
    parts = re.split(r"(^```.*?^```$|^#[^\n]*$)", markdown, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if number % 2 else pattern.sub(replace, part) for number, part in enumerate(parts))


def site_uri(path: str) -> str:
    """Where a file of the project stands in the site."""
    if path in BESIDE or path == "examples/cookbook":
        return BESIDE.get(path, "cookbook.md")
    return path.removeprefix("docs/") if path.startswith("docs/") else f"{path}.md"
