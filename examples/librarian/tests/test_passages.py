"""Where passages begin and end, for each kind of document."""

import unittest

from librarian import passages


class Cut(unittest.TestCase):
    def check(self, kind: str, text: str, expect: list[tuple[str, int, int, str]]) -> None:
        found = [(p.heading, p.first_line, p.last_line, p.text) for p in passages.cut("f", kind, text)]
        self.assertEqual(found, expect)

    def test_markdown(self) -> None:
        self.check("markdown", "", [])
        self.check("markdown", "intro\n\n# A `b` [c](d)\n\none\ntwo\n", [("", 1, 1, "intro"), ("A b c", 5, 6, "one\ntwo")])
        self.check(
            "markdown",
            "# A\n## B\nb\n### C\nc\n## D\nd\n",
            [("A > B", 3, 3, "b"), ("A > B > C", 5, 5, "c"), ("A > D", 7, 7, "d")],
        )

    def test_a_comment_in_a_fence_is_no_heading(self) -> None:
        self.check(
            "markdown",
            "# A\n```sh\n# not a heading\n\nls\n```\nafter\n",
            [("A", 2, 7, "```sh\n# not a heading\n\nls\n```\nafter")],
        )

    def test_an_open_fence_ends_with_the_file(self) -> None:
        self.check("markdown", "```\n# x\n", [("", 1, 2, "```\n# x")])

    def test_rst(self) -> None:
        self.check("rst", "=====\nTitle\n=====\none\n\nSub\n---\ntwo\n", [("Title", 4, 4, "one"), ("Title > Sub", 8, 8, "two")])

    def test_python(self) -> None:
        self.check(
            "python",
            '"""Head."""\n\nclass A:\n    def b(self):\n        pass\n\ndef c(): pass\n',
            [
                ("", 1, 1, '"""Head."""'),
                ("class A", 3, 3, "class A:"),
                ("class A > def b", 4, 5, "    def b(self):\n        pass"),
                ("def c", 7, 7, "def c(): pass"),
            ],
        )
        self.check("python", "def broken(:\n", [("", 1, 1, "def broken(:")])

    def test_html(self) -> None:
        page = "<title>t</title><h1>A</h1>\n<p>one <b>two</b></p><script>x()</script>\n<h2>B</h2><p>a &amp; b</p>"
        self.check("html", page, [("", 1, 1, "t"), ("A", 2, 2, "one two"), ("A > B", 3, 3, "a & b")])

    def test_blocks_are_joined_to_the_target_and_no_further(self) -> None:
        block = "word " * 60
        text = "\n\n".join([block] * 5)
        cut = passages.cut("f", "text", text)
        self.assertEqual([(p.first_line, p.last_line) for p in cut], [(1, 3), (5, 7), (9, 9)])

    def test_a_long_block_is_cut_between_lines(self) -> None:
        text = "\n".join(["x" * 100] * 20)
        cut = passages.cut("f", "text", text)
        self.assertEqual([(p.first_line, p.last_line) for p in cut], [(1, 7), (8, 14), (15, 20)])
        self.assertTrue(all(len(p.text) <= passages.LIMIT for p in passages.cut("f", "text", "y" * 9_999)))


class Sentences(unittest.TestCase):
    def check(self, text: str, expect: list[str]) -> None:
        self.assertEqual(passages.sentences(text), expect)

    def test_sentences(self) -> None:
        self.check("The first one here.\nThe second\nsentence here.", ["The first one here.", "The second sentence here."])
        self.check(
            "| name | meaning here |\n|---|---|\n| `one` | the first of them |",
            ["name meaning here", "one the first of them"],
        )
        self.check("- an item of a list\n  that goes on\n- another such item", ["an item of a list that goes on", "another such item"])
        self.check("short", ["short"])


if __name__ == "__main__":
    unittest.main()
