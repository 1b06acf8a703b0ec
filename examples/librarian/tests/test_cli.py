"""The command as it is typed."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path


def librarian(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "librarian", *arguments], capture_output=True, text=True, timeout=60)


class Ask(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        (self.root / "a.md").write_text("# Harbour\n\nShips pay on Tuesdays.\n")

    def test_text(self) -> None:
        done = librarian("ask", "when are fees due?", "--workspace", str(self.root))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^a\.md:3-3  Harbour  \(0\.\d\d\)\n    Ships pay on Tuesdays\.\n\n$")

    def test_json(self) -> None:
        done = librarian("ask", "when are fees due?", "--workspace", str(self.root), "--format", "json")
        (passage,) = json.loads(done.stdout)["passages"]
        self.assertEqual((passage["file"], passage["lines"]), ("a.md", [3, 3]))

    def test_errors(self) -> None:
        (self.root / "empty").mkdir()
        for arguments, code, text in (
            (("ask", "q", "--workspace", "/no/such"), 1, "/no/such is not a directory: name the documents with --workspace DIR"),
            (("ask", "q", "--workspace", str(self.root / "empty")), 1, f"no documents in {self.root / 'empty'}"),
            (("ask", " ", "--workspace", str(self.root)), 1, "the question is empty"),
            (("ask", "q", "--top", "0"), 1, "--top must be at least 1"),
            (("serve", "--listen", "8080", "--workspace", str(self.root)), 1, "--listen wants HOST:PORT or unix:PATH, not '8080'"),
        ):
            done = librarian(*arguments)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (code, "", f"librarian: {text}\n"))
        self.assertEqual(librarian("ask").returncode, 2)


if __name__ == "__main__":
    unittest.main()
