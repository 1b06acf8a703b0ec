"""The server as a client sees it, on TCP and on a unix socket, in a process of its own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Serve(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.root = Path(directory.name)
        (self.root / "docs").mkdir()
        (self.root / "docs" / "store.md").write_text("# Store\n\nEvery layer is a directory named by its digest.\n")

    def start(self, listen: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "librarian", "serve", "--workspace", str(self.root / "docs"), "--listen", listen]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.assertEqual(process.stderr.readline(), f"librarian: listening on {listen}\n")
        return process

    def ask(self, connection: http.client.HTTPConnection, method: str, path: str, body: str | None = None) -> tuple[int, dict]:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def test_unix_socket(self) -> None:
        path = str(self.root / "s.sock")
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(path)
        stale.close()
        process = self.start(f"unix:{path}")
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o660)
        connection = UnixConnection(path)
        self.addCleanup(connection.close)

        deadline = time.monotonic() + 30
        while (status := self.ask(connection, "GET", "/healthz"))[0] == 503 and time.monotonic() < deadline:
            self.assertEqual(status[1], {"status": "indexing"})
            time.sleep(0.05)
        self.assertEqual(status, (200, {"status": "ready", "documents": 1, "passages": 1}))

        status, answer = self.ask(connection, "POST", "/ask", '{"question": "what is a layer?", "top": 1}')
        self.assertEqual(status, 200)
        (passage,) = answer["passages"]
        self.assertEqual((passage["file"], passage["heading"], passage["lines"]), ("store.md", "Store", [3, 3]))
        self.assertEqual(self.ask(connection, "GET", "/ask?q=what+is+a+layer%3F&top=1"), (200, answer))

        for method, target, body, expect in (
            ("GET", "/", None, 404),
            ("GET", "/ask", None, 400),
            ("GET", "/ask?q=x&top=0", None, 400),
            ("POST", "/ask", "[]", 400),
            ("POST", "/ask", "{", 400),
            ("POST", "/ask", '{"question": 3}', 400),
            ("POST", "/ask", "x" * 70_000, 413),
            ("POST", "/other", "{}", 404),
            ("PUT", "/ask", None, 501),
        ):
            other = UnixConnection(path)
            other.request(method, target, body)
            self.assertEqual(other.getresponse().status, expect, (method, target, body))
            other.close()

        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(10), 0)
        self.assertFalse(os.path.exists(path))

    def test_tcp(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        process = self.start(f"127.0.0.1:{port}")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self.addCleanup(connection.close)
        status, answer = self.ask(connection, "GET", "/ask?q=what+is+a+layer%3F")
        self.assertEqual((status, answer["passages"][0]["file"]), (200, "store.md"))
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(10), 0)

    def test_what_stands_in_the_way_is_not_removed(self) -> None:
        path = self.root / "s.sock"
        path.write_text("precious")
        command = [sys.executable, "-m", "librarian", "serve", "--workspace", str(self.root), "--listen", f"unix:{path}"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        self.assertEqual((done.returncode, done.stderr), (1, f"librarian: {path} exists and is not a socket\n"))
        self.assertEqual(path.read_text(), "precious")


if __name__ == "__main__":
    unittest.main()
