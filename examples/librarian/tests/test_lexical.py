"""Which words meet, and which passage they choose."""

import unittest

from librarian import lexical


class Words(unittest.TestCase):
    def test_forms_of_a_word_meet(self) -> None:
        for forms in ("layer layers layered layering", "directory directories", "store stores stored storing", "limit limits limited", "run running runs", "process processes"):
            self.assertEqual(len(set(lexical.words(forms))), 1, lexical.words(forms))

    def test_words_that_only_look_alike_stay_apart(self) -> None:
        self.assertEqual(len(set(lexical.words("status state class uses pass paste"))), 6)

    def test_question_words_are_dropped(self) -> None:
        self.assertEqual(lexical.words("How is the agent.lock laid out?"), ["agent", "lock", "lay", "out"])


class Scores(unittest.TestCase):
    def check(self, question: str, best: int) -> None:
        texts = ["the layers of the store", "the monitor writes the exit code", "the store", "a bridge network"]
        scores = lexical.Lexicon([lexical.words(text) for text in texts]).scores(lexical.words(question))
        self.assertEqual(max(range(len(texts)), key=scores.__getitem__), best)
        self.assertTrue(all(0 <= score <= 1 for score in scores), scores)

    def test_best(self) -> None:
        self.check("where are layers stored?", 0)
        self.check("who writes the exit code?", 1)
        self.check("store", 2)

    def test_nothing_asked_and_nothing_there(self) -> None:
        self.assertEqual(lexical.Lexicon([["a"]]).scores([]), [0.0])
        self.assertEqual(lexical.Lexicon([]).scores(["a"]), [])


if __name__ == "__main__":
    unittest.main()
