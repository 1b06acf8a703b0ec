"""BM25 over passages: which share the question's rarer words.

An embedding knows that "disk" is near "storage"; it does not know that `agent.lock` is a name. The
two scores err differently, which is why they are added.

Source: Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009).
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

K1 = 1.2
B = 0.6

_WORD = re.compile(r"[^\W_]+")

# Words that a question has and an answer need not have.
_STOP = frozenset(
    "a about after all also am an and any are as at be been but by can could did do does every for from had has have "
    "how i if in into is it its itself let many me more much must my no not of on one or our say says should so some "
    "such than that the their them then there these they this to us was we were what when where which who whose why "
    "will with without would you your".split()
)


# Forms that no suffix rule reaches, as technical prose uses them.
_IRREGULAR = {
    "began": "begin", "begun": "begin", "built": "build", "chosen": "choose", "found": "find", "gone": "go",
    "held": "hold", "hidden": "hide", "kept": "keep", "laid": "lay", "layout": "lay", "left": "leave", "lies": "lie",
    "made": "make", "ran": "run", "sent": "send", "shown": "show", "stood": "stand", "thrown": "throw",
    "took": "take", "taken": "take", "wrote": "write", "written": "write",
}  # fmt: skip


def words(text: str) -> list[str]:
    """The lower-cased, stemmed words of a text, in order, without those that carry no meaning."""
    return [_stem(word) for word in _WORD.findall(text.lower()) if word not in _STOP]


def _stem(word: str) -> str:
    """Enough of a stemmer that "layers", "layered" and "layer" meet; Porter's needs ten times the code."""
    word = _IRREGULAR.get(word, word)
    if len(word) <= 3 or not word.isascii():
        return word
    for suffix, keep in (("ies", "y"), ("sses", "ss"), ("ings", ""), ("ing", ""), ("edly", ""), ("ed", ""), ("es", "e")):
        stem = word.removesuffix(suffix)
        if stem != word and len(stem) >= 3:
            word = stem + keep
            break
    else:
        if word.endswith("s") and not word.endswith(("ss", "us", "is")):
            word = word[:-1]
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        word = word[:-1]
    return word[:-1] if len(word) > 4 and word.endswith("e") else word


class Lexicon:
    """The word counts of a fixed list of passages. Memory: one small dict for each passage."""

    def __init__(self, texts: Sequence[list[str]]) -> None:
        self._counts = [Counter(text) for text in texts]
        self._lengths = [len(text) for text in texts]
        self._mean = sum(self._lengths) / len(texts) if texts else 0.0
        self._documents: Counter[str] = Counter()
        for counts in self._counts:
            self._documents.update(counts.keys())

    def scores(self, question: list[str]) -> list[float]:
        """One score for each passage, at least 0: the share of the best score that is possible.

        Dividing by the sum of the question's weights makes scores comparable between questions.
        """
        weights = {word: self._weight(word) for word in set(question)}
        most = sum(weights.values()) * (K1 + 1)
        if most <= 0:
            return [0.0] * len(self._counts)
        return [self._score(index, weights) / most for index in range(len(self._counts))]

    def _weight(self, word: str) -> float:
        with_word = self._documents[word]
        return math.log(1 + (len(self._counts) - with_word + 0.5) / (with_word + 0.5))

    def _score(self, index: int, weights: dict[str, float]) -> float:
        counts = self._counts[index]
        damping = K1 * (1 - B + B * self._lengths[index] / self._mean) if self._mean else K1
        # Sorted: a set's order differs from one process to the next, and so would the last digit.
        return sum(
            weights[word] * count * (K1 + 1) / (count + damping)
            for word in sorted(weights)
            if (count := counts[word])
        )
