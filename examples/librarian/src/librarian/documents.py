"""Finds the documents of a workspace and reads them as text.

What a workspace holds is not trusted: symbolic links are not followed (they could name any file
that this process may read), only regular files are opened, and size and number are bounded.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = {
    ".md": "markdown",
    ".markdown": "markdown",
    ".rst": "rst",
    ".txt": "text",
    ".py": "python",
    ".html": "html",
    ".htm": "html",
}

# What tools generate: it drowns what people wrote.
SKIPPED_DIRECTORIES = frozenset({"node_modules", "target", "build", "dist", "venv", "__pycache__", "site-packages"})

MAX_BYTES = 1 << 20
MAX_DOCUMENTS = 20_000


@dataclass(frozen=True)
class Document:
    """A file of the workspace; `path` is relative to it, with forward slashes."""

    path: str
    kind: str
    size: int
    mtime_ns: int


def find(workspace: Path) -> Iterator[Document]:
    """Yields the documents under `workspace` in the order of their paths.

    Raises `NotADirectoryError` or `PermissionError` if `workspace` itself cannot be read; a
    directory further down that cannot be read is left out.
    """
    os.listdir(workspace)
    found = 0
    for directory, names, files in os.walk(workspace):
        names[:] = sorted(n for n in names if not n.startswith(".") and n not in SKIPPED_DIRECTORIES)
        for name in sorted(files):
            kind = SUFFIXES.get(os.path.splitext(name)[1].lower())
            if kind is None or name.startswith("."):
                continue
            full = os.path.join(directory, name)
            try:
                status = os.lstat(full)
            except OSError:
                continue
            if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= MAX_BYTES:
                continue
            path = os.path.relpath(full, workspace).replace(os.sep, "/")
            yield Document(path, kind, status.st_size, status.st_mtime_ns)
            found += 1
            if found == MAX_DOCUMENTS:
                return


def read(workspace: Path, document: Document) -> str:
    """The text of a document; bytes that are no UTF-8 become U+FFFD.

    O_NOFOLLOW and the bound hold even if the file was replaced since it was found.
    """
    descriptor = os.open(workspace / document.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{document.path} is not a regular file any more")
        return file.read(MAX_BYTES).decode("utf-8", "replace")
