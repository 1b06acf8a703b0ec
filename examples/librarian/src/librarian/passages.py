"""Cuts a document into passages: the unit that is scored and shown.

A passage never crosses a heading. Inside a section, whole blocks (paragraphs, lists, tables, code)
are joined up to TARGET characters; a block longer than LIMIT is cut between lines. Line numbers
count from 1 and name the first and last line in the file, so that an editor can jump there.

    # Store                 heading path ("Store",)
    text                    passage, lines 3-9
    ## Layers               heading path ("Store", "Layers")
    - a list                passage, lines 12-20
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser

TARGET = 700
LIMIT = 1200


@dataclass(frozen=True)
class Passage:
    """A piece of one document: where it stands and what it says."""

    path: str
    headings: tuple[str, ...]
    first_line: int
    last_line: int
    text: str

    @property
    def heading(self) -> str:
        """The heading path as one line, "Store > Layers"; empty above the first heading."""
        return " > ".join(self.headings)


@dataclass(frozen=True)
class _Block:
    first: int
    last: int
    text: str


_BREAK = re.compile(r"(?<=[.!?;])\s+|\n\s*\n")
_ITEM = re.compile(r"^\s*(?:[-*+|]|\d+[.)])\s*")
_MARKUP = re.compile(r"[|`*]+")


def sentences(text: str) -> list[str]:
    """What a passage says, one statement each: sentences, list items and table rows.

    A sentence encoder averages what it is given: in a table of ten rows it sees none of them.
    """
    units: list[str] = []
    for line in text.split("\n"):
        if _ITEM.match(line) or not line.strip() or not units:
            units.append("")
        units[-1] += " " + _MARKUP.sub(" ", _ITEM.sub("", line))
    found = [" ".join(part.split()) for unit in units for part in _BREAK.split(unit)]
    return [part for part in found if sum(character.isalpha() for character in part) >= 12] or [" ".join(text.split())]


def cut(path: str, kind: str, text: str) -> list[Passage]:
    """The passages of a document of the given kind (see `documents.SUFFIXES`)."""
    sections = {
        "markdown": _markdown,
        "rst": _rst,
        "python": _python,
        "html": _html,
    }.get(kind, _plain)
    return [
        Passage(path, headings, block.first, block.last, block.text)
        for headings, blocks in sections(text)
        for block in _join(blocks)
    ]


def _join(blocks: list[_Block]) -> Iterator[_Block]:
    pending: list[_Block] = []
    size = 0
    for block in (piece for block in blocks for piece in _split(block)):
        if pending and size + len(block.text) > TARGET:
            yield _merge(pending)
            pending, size = [], 0
        pending.append(block)
        size += len(block.text)
    if pending:
        yield _merge(pending)


def _merge(blocks: list[_Block]) -> _Block:
    return _Block(blocks[0].first, blocks[-1].last, "\n\n".join(block.text for block in blocks))


def _split(block: _Block) -> Iterator[_Block]:
    if len(block.text) <= LIMIT:
        yield block
        return
    first, lines, size = block.first, [], 0
    for number, line in enumerate(block.text.split("\n"), block.first):
        if lines and size + len(line) > TARGET:
            yield _Block(first, number - 1, "\n".join(lines))
            first, lines, size = number, [], 0
        lines.append(line[:LIMIT])
        size += len(line)
    yield _Block(first, block.last, "\n".join(lines))


Section = tuple[tuple[str, ...], list[_Block]]


def _blocks(lines: list[str], offset: int) -> list[_Block]:
    """Runs of lines between blank ones; a fenced code block is one run whatever it holds."""
    blocks: list[_Block] = []
    start: int | None = None
    fence = ""
    for index, line in enumerate([*lines, ""]):
        mark = line.lstrip()[:3]
        if mark in ("```", "~~~"):
            fence = "" if fence == mark else fence or mark
        blank = not line.strip() and (not fence or index == len(lines))
        if blank and start is not None:
            text = "\n".join(lines[start:index]).rstrip()
            blocks.append(_Block(offset + start, offset + start + text.count("\n"), text))
            start = None
        elif not blank and start is None:
            start = index
    return blocks


def _headed(lines: list[str], found: list[tuple[int, int, int, str]]) -> Iterator[Section]:
    """Sections between headings, each given as (its first line's index, length in lines, level, title)."""
    trail: list[tuple[int, str]] = []
    position = 0
    for index, length, level, title in [*found, (len(lines), 0, 0, "")]:
        blocks = _blocks(lines[position:index], position + 1)
        if blocks:
            yield tuple(text for _, text in trail), blocks
        trail = [entry for entry in trail if entry[0] < level] + [(level, title)]
        position = index + length


_ATX = re.compile(r"^(#{1,6})\s+(.*?)\s*#*\s*$")


def _markdown(text: str) -> Iterator[Section]:
    lines = text.split("\n")
    found = []
    fence = ""
    for index, line in enumerate(lines):
        mark = line.lstrip()[:3]
        if mark in ("```", "~~~"):
            fence = "" if fence == mark else fence or mark
        elif not fence and (match := _ATX.match(line)):
            found.append((index, 1, len(match[1]), _inline(match[2])))
    return _headed(lines, found)


def _inline(text: str) -> str:
    """A heading without the marks of emphasis, code and links."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "").replace("**", "").strip("_* ")


_ADORNMENT = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}\s*$")


def _rst(text: str) -> Iterator[Section]:
    lines = text.split("\n")
    found: list[tuple[int, int, int, str]] = []
    levels: list[str] = []
    for index in range(1, len(lines)):
        title, match = lines[index - 1], _ADORNMENT.match(lines[index])
        if not match or not title.strip() or title[0].isspace() or _ADORNMENT.match(title):
            continue
        if len(lines[index].rstrip()) < len(title.rstrip()):
            continue
        if match[1] not in levels:
            levels.append(match[1])
        over = index >= 2 and lines[index - 2].rstrip() == lines[index].rstrip()
        found.append((index - 1 - over, 2 + over, levels.index(match[1]) + 1, title.strip()))
    return _headed(lines, found)


def _plain(text: str) -> Iterator[Section]:
    yield (), _blocks(text.split("\n"), 1)


def _python(text: str) -> Iterator[Section]:
    """One section for each function, class and module head; a file that does not parse is plain text."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        yield from _plain(text)
        return
    lines = text.split("\n")
    found = []
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            word = "class" if isinstance(node, ast.ClassDef) else "def"
            found.append((first - 1, 0, node.col_offset + 1, f"{word} {node.name}"))
    yield from _headed(lines, sorted(found))


class _Reader(HTMLParser):
    """Collects the headings and the text of an HTML page with the lines that they stand on."""

    BREAKS = frozenset("p div li tr table ul ol dl dt dd pre section article header footer br blockquote".split())
    SILENT = frozenset({"script", "style", "template", "noscript"})

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.sections: list[Section] = [((), [])]
        self.trail: list[tuple[int, str]] = []
        self.words: list[str] = []
        self.first = 1
        self.silent = 0
        self.level = 0

    def flush(self) -> None:
        """Ends the block that is being collected."""
        text = " ".join(" ".join(self.words).split())
        self.words = []
        if not text:
            return
        if self.level:
            self.trail = [entry for entry in self.trail if entry[0] < self.level] + [(self.level, text)]
            self.sections.append((tuple(title for _, title in self.trail), []))
        else:
            self.sections[-1][1].append(_Block(self.first, self.getpos()[0], text))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self.SILENT:
            self.silent += 1
        elif re.fullmatch(r"h[1-6]", tag):
            self.flush()
            self.level = int(tag[1])
        elif tag in self.BREAKS:
            self.flush()

    def handle_endtag(self, tag: str) -> None:
        if tag in self.SILENT:
            self.silent = max(0, self.silent - 1)
        elif re.fullmatch(r"h[1-6]", tag):
            self.flush()
            self.level = 0
        elif tag in self.BREAKS:
            self.flush()

    def handle_data(self, data: str) -> None:
        if self.silent or not data.strip():
            return
        if not self.words:
            lead = len(data) - len(data.lstrip())
            self.first = self.getpos()[0] + data.count("\n", 0, lead)
        self.words.append(data)


def _html(text: str) -> Iterator[Section]:
    reader = _Reader()
    reader.feed(text)
    reader.close()
    reader.flush()
    for headings, blocks in reader.sections:
        if blocks:
            yield headings, blocks
