"""The index of a workspace: passages, their vectors and their words, and the search over both.

Everything is in memory. `refresh` looks at sizes and times again and re-reads what changed; vectors
are kept by the hash of their text, so that an edit costs the passages it touched and no more. With a
cache directory they also survive the process:

    CACHE/vectors-v1.npz     keys: N x 32 bytes (sha256 of the encoded text), vectors: N x 512 float32

The file is written beside and renamed. It is read without pickle, and a file that cannot be read is
as good as none.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from librarian import documents, lexical, passages
from librarian.embedding import DIMENSIONS, Encoder
from librarian.passages import Passage

# The share of the meaning in the score; the rest is the share of the words. Of 42 questions to two sets of
# pages, 31 had the right passage first and 36 among the first three; 0.5 to 0.7 differ by one or two.
MEANING = 0.6

# The share of the passage as a whole in its meaning; the rest is its best sentence.
WHOLE = 0.2

# The share of the passage's own heading: what stands right below a title answers what the title asks.
HEADING = 0.2

# A question to a big workspace encodes only the passages whose words fit best: 4,000 take a minute.
MAX_ENCODED = 4_000


@dataclass(frozen=True)
class Hit:
    """A passage that fits a question; the score is between 0 and 1."""

    passage: Passage
    score: float


class Index:
    """The documents of one workspace. Not safe for concurrent use: the server holds a lock."""

    def __init__(self, workspace: Path, encoder: Encoder, cache: Path | None = None) -> None:
        self.workspace = workspace
        self.passages: list[Passage] = []
        self._encoder = encoder
        self._cache = cache / "vectors-v1.npz" if cache else None
        self._cut: dict[documents.Document, list[Passage]] = {}
        self._vectors: dict[bytes, object] = self._load()
        self._lexicon = lexical.Lexicon([])

    @property
    def document_count(self) -> int:
        """How many documents the last `refresh` found."""
        return len(self._cut)

    def refresh(self) -> bool:
        """Reads what changed in the workspace; true if anything did."""
        found = {document: self._cut.get(document) for document in documents.find(self.workspace)}
        if found.keys() == self._cut.keys() and self._cut:
            return False
        for document, known in found.items():
            if known is None:
                found[document] = self._read(document)
        self._cut = {document: pieces for document, pieces in found.items() if pieces is not None}
        self.passages = [piece for pieces in self._cut.values() for piece in pieces]
        self._lexicon = lexical.Lexicon([_indexed_words(passage) for passage in self.passages])
        return True

    def prepare(self) -> None:
        """Encodes every passage now rather than at the first question."""
        if self.passages:
            self._meanings(range(len(self.passages))[:MAX_ENCODED], "")

    def ask(self, question: str, top: int = 3) -> list[Hit]:
        """The `top` passages that fit best, best first; equal scores go by path and line."""
        if not self.passages:
            return []
        by_words = self._lexicon.scores(lexical.words(question))
        order = sorted(range(len(self.passages)), key=lambda i: (-by_words[i], i))[:MAX_ENCODED]
        meanings = self._meanings(order, question)
        hits = [
            Hit(self.passages[i], round(MEANING * meaning + (1 - MEANING) * by_words[i], 4))
            for i, meaning in zip(order, meanings, strict=True)
        ]
        hits.sort(key=lambda hit: (-hit.score, hit.passage.path, hit.passage.first_line))
        return hits[:top]

    def _read(self, document: documents.Document) -> list[Passage] | None:
        try:
            text = documents.read(self.workspace, document)
        except OSError:
            return None
        return passages.cut(document.path, document.kind, text)

    def _meanings(self, order: Sequence[int], question: str) -> list[float]:
        """How near each passage is to the question: its best sentence, all of it, and its own heading."""
        import numpy

        asked = self._encoder.encode([question])[0]
        texts = [_encoded_texts(self.passages[i]) for i in order]
        near = numpy.maximum(self._vectors_of([text for group in texts for text in group]) @ asked, 0)
        starts = numpy.cumsum([0, *(len(group) for group in texts[:-1])])
        best = numpy.maximum.reduceat(near, starts)
        mixed = (1 - WHOLE - HEADING) * best + WHOLE * near[starts] + HEADING * near[starts + 1]
        return [float(value) for value in mixed]

    def _vectors_of(self, texts: Sequence[str]):
        import numpy

        keys = [hashlib.sha256(text.encode()).digest() for text in texts]
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._vectors}
        if missing:
            self._vectors.update(zip(missing, self._encoder.encode(list(missing.values())), strict=True))
            self._save()
        return numpy.stack([self._vectors[key] for key in keys])

    def _load(self) -> dict[bytes, object]:
        if self._cache is None or not self._cache.is_file():
            return {}
        import numpy

        try:
            with open(self._cache, "rb") as file, numpy.load(file, allow_pickle=False) as stored:
                keys, vectors = stored["keys"], stored["vectors"]
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return {}
        if keys.shape != (len(vectors), 32) or keys.dtype != numpy.uint8 or vectors.shape[1:] != (DIMENSIONS,):
            return {}
        return {key.tobytes(): vector for key, vector in zip(keys, vectors, strict=True)}

    def _save(self) -> None:
        if self._cache is None:
            return
        import numpy

        self._cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        keys = numpy.frombuffer(b"".join(self._vectors), dtype=numpy.uint8).reshape(-1, 32)
        with tempfile.NamedTemporaryFile(dir=self._cache.parent, prefix=".vectors-", delete=False) as file:
            numpy.savez(file, keys=keys, vectors=numpy.stack(list(self._vectors.values())))
        os.replace(file.name, self._cache)


def _encoded_texts(passage: Passage) -> list[str]:
    """What the model sees: the passage under its headings, its own heading, then each of its sentences."""
    whole = f"{passage.heading}. {passage.text}" if passage.headings else passage.text
    heading = passage.headings[-1] if passage.headings else passage.path
    return [whole, heading, *passages.sentences(passage.text)]


def _indexed_words(passage: Passage) -> list[str]:
    """The words of a passage, with those of its file's name and its headings."""
    return lexical.words(f"{passage.path} {passage.heading} {passage.text}")
