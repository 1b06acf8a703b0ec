"""What is found in a workspace, and what must not be."""

import os
import tempfile
import unittest
from pathlib import Path

from librarian import documents


class Find(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)

    def write(self, path: str, text: str = "text\n") -> Path:
        full = self.root / path
        full.parent.mkdir(parents=True, exist_ok=True)
        full.write_text(text)
        return full

    def test_documents_come_in_order_and_others_do_not(self) -> None:
        for path in ("b.md", "a/z.TXT", "a/c.html", "x.png", ".hidden.md", ".git/n.md", "node_modules/n.md", "empty.md"):
            self.write(path, "" if path == "empty.md" else "text\n")
        found = [(document.path, document.kind) for document in documents.find(self.root)]
        self.assertEqual(found, [("b.md", "markdown"), ("a/c.html", "html"), ("a/z.TXT", "text")])

    def test_links_are_not_followed(self) -> None:
        outside = tempfile.TemporaryDirectory()
        self.addCleanup(outside.cleanup)
        secret = Path(outside.name) / "secret.md"
        secret.write_text("secret\n")
        (self.root / "file.md").symlink_to(secret)
        (self.root / "directory").symlink_to(outside.name)
        os.mkfifo(self.root / "pipe.md")
        self.assertEqual(list(documents.find(self.root)), [])

    def test_a_file_that_became_a_link_is_not_read(self) -> None:
        path = self.write("a.md")
        (document,) = documents.find(self.root)
        path.unlink()
        path.symlink_to("/etc/hostname")
        with self.assertRaises(OSError):
            documents.read(self.root, document)

    def test_big_files_are_left_out_and_bytes_replaced(self) -> None:
        self.write("big.md", "x" * (documents.MAX_BYTES + 1))
        (self.root / "latin.txt").write_bytes(b"caf\xe9\n")
        (document,) = documents.find(self.root)
        self.assertEqual(documents.read(self.root, document), "caf\ufffd\n")

    def test_no_such_workspace(self) -> None:
        with self.assertRaises(FileNotFoundError):
            list(documents.find(self.root / "none"))


if __name__ == "__main__":
    unittest.main()
