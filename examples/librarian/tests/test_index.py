"""Right answers from the real model, and what is encoded again after a change."""

import os
import tempfile
import unittest
from pathlib import Path

from librarian.embedding import SentenceEncoder
from librarian.index import Index

ENCODER = SentenceEncoder()

DOCUMENTS = {
    "garden.md": "# Garden\n\nTomatoes need sun and a litre of water every day.\n\n# Tools\n\nThe spade hangs in the shed.\n",
    "boats/sailing.txt": "Reef the mainsail before the wind is strong.\n\nThe anchor lies in the bow locker.\n",
    "bread.rst": "Bread\n=====\nLet the dough rest for twelve hours.\n",
}


class Counting:
    """The real model, counting what it is asked to encode."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def encode(self, texts):
        self.texts.extend(texts)
        return ENCODER.encode(texts)


class Ask(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        for path, text in DOCUMENTS.items():
            (self.root / path).parent.mkdir(exist_ok=True)
            (self.root / path).write_text(text)

    def index(self, **options) -> Index:
        index = Index(self.root, ENCODER, **options)
        index.refresh()
        return index

    def test_answers(self) -> None:
        index = self.index()
        for question, path, line in (
            ("how much should I irrigate vegetables?", "garden.md", 3),
            ("where do I find something to dig with?", "garden.md", 7),
            ("what to do with the sails in a storm?", "boats/sailing.txt", 1),
            ("how long does it take to bake?", "bread.rst", 3),
        ):
            hit = index.ask(question)[0]
            self.assertEqual((hit.passage.path, hit.passage.first_line), (path, line), question)
            self.assertTrue(0 < hit.score <= 1)

    def test_the_same_question_has_the_same_answer(self) -> None:
        question = "where is the anchor?"
        self.assertEqual(self.index().ask(question, 9), self.index().ask(question, 9))

    def test_only_what_changed_is_encoded_again(self) -> None:
        encoder = Counting()
        index = Index(self.root, encoder)
        index.refresh()
        index.prepare()
        self.assertFalse(index.refresh())
        encoder.texts.clear()
        (self.root / "bread.rst").write_text("Bread\n=====\nThe oven must be very hot.\n")
        self.assertTrue(index.refresh())
        self.assertEqual(index.ask("which temperature?", 9)[0].passage.path, "bread.rst")
        self.assertEqual(
            encoder.texts, ["which temperature?", "Bread. The oven must be very hot.", "The oven must be very hot."]
        )
        os.unlink(self.root / "bread.rst")
        self.assertTrue(index.refresh())
        self.assertNotIn("bread.rst", {hit.passage.path for hit in index.ask("which temperature?", 9)})

    def test_no_documents(self) -> None:
        with tempfile.TemporaryDirectory() as empty:
            index = Index(Path(empty), ENCODER)
            index.refresh()
            index.prepare()
            self.assertEqual(index.ask("anything?"), [])

    def test_cache(self) -> None:
        with tempfile.TemporaryDirectory() as cache:
            expect = self.index(cache=Path(cache)).ask("where is the anchor?")
            encoder = Counting()
            index = Index(self.root, encoder, Path(cache))
            index.refresh()
            self.assertEqual(index.ask("where is the anchor?"), expect)
            self.assertEqual(encoder.texts, ["where is the anchor?"])
            self.assertEqual(os.listdir(cache), ["vectors-v1.npz"])
            (Path(cache) / "vectors-v1.npz").write_bytes(b"PK\x03\x04 no archive")
            self.assertEqual(self.index(cache=Path(cache)).ask("where is the anchor?"), expect)


if __name__ == "__main__":
    unittest.main()
