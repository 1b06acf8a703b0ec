"""Answers questions over HTTP, on TCP or on a unix socket.

    GET  /healthz              200 {"status": "ready", ...}, 503 {"status": "indexing"} before that
    GET  /ask?q=QUESTION&top=3 200 {"question": ..., "passages": [...]}
    POST /ask                  the same from a body {"question": "...", "top": 3}

Errors are {"error": "..."} with 400, 404, 405, 413 or 503. The index is built in the background, so
that the socket is there at once; questions asked before that wait. There is no authentication: who
may connect is decided by the address or by the directory in which the socket stands.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from librarian.index import Hit, Index

MAX_BODY = 64 << 10
MAX_TOP = 50


class BadRequest(Exception):
    """What the client asked for makes no sense; the text says why."""


class Desk:
    """The index as several request threads see it: one at a time."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self._lock = threading.Lock()
        self.ready = threading.Event()

    def prepare(self) -> None:
        """Builds the index; called once, from a thread of its own."""
        with self._lock:
            self._index.refresh()
            self._index.prepare()
        self.ready.set()

    def ask(self, question: str, top: int) -> list[Hit]:
        """Answers from the documents as they are now."""
        with self._lock:
            self._index.refresh()
            return self._index.ask(question, top)

    def health(self) -> tuple[HTTPStatus, dict[str, object]]:
        """The status code and body of /healthz."""
        if not self.ready.is_set():
            return HTTPStatus.SERVICE_UNAVAILABLE, {"status": "indexing"}
        counts = {"documents": self._index.document_count, "passages": len(self._index.passages)}
        return HTTPStatus.OK, {"status": "ready", **counts}


def to_json(question: str, hits: list[Hit]) -> dict[str, object]:
    """The answer as data, the same on the command line and over HTTP."""
    return {
        "question": question,
        "passages": [
            {
                "file": hit.passage.path,
                "heading": hit.passage.heading,
                "lines": [hit.passage.first_line, hit.passage.last_line],
                "score": hit.score,
                "text": hit.passage.text,
            }
            for hit in hits
        ],
    }


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "librarian"
    sys_version = ""
    # A client that says nothing holds a thread no longer than this (seconds).
    timeout = 30
    server: Server | UnixServer

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/healthz":
            self._reply(*self.server.desk.health())
        elif url.path == "/ask":
            query = parse_qs(url.query)
            self._ask(query.get("q", [""])[0], query.get("top", ["3"])[0])
        else:
            self._reply(HTTPStatus.NOT_FOUND, {"error": f"no such path: {url.path}; there are /healthz and /ask"})

    def do_POST(self) -> None:
        try:
            length = int(self.headers.get("Content-Length", ""))
        except ValueError:
            length = -1
        # The body is read before anything is refused, also one that is a little too long: a client that
        # still writes would see a reset instead of the answer.
        data = self.rfile.read(min(max(length, 0), 16 * MAX_BODY))
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            self._reply(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, {"error": f"Content-Length must be 0 to {MAX_BODY}"})
            return
        if urlsplit(self.path).path != "/ask":
            self._reply(HTTPStatus.NOT_FOUND, {"error": "POST goes to /ask"})
            return
        try:
            body = json.loads(data)
        except (ValueError, RecursionError):
            body = None
        if isinstance(body, dict):
            self._ask(body.get("question", ""), body.get("top", 3))
        else:
            self._reply(HTTPStatus.BAD_REQUEST, {"error": 'the body must be {"question": "..."}'})

    def _ask(self, question: object, top: object) -> None:
        try:
            if not isinstance(question, str) or not question.strip():
                raise BadRequest("the question is missing")
            try:
                count = int(top) if isinstance(top, (str, int)) else 0
            except ValueError:
                count = 0
            if not 1 <= count <= MAX_TOP:
                raise BadRequest(f"top must be a number from 1 to {MAX_TOP}")
            self._reply(HTTPStatus.OK, to_json(question, self.server.desk.ask(question, count)))
        except BadRequest as error:
            self._reply(HTTPStatus.BAD_REQUEST, {"error": str(error)})
        except OSError as error:
            self._reply(HTTPStatus.SERVICE_UNAVAILABLE, {"error": f"the workspace cannot be read: {error}"})

    def _reply(self, status: HTTPStatus, body: dict[str, object]) -> None:
        data = json.dumps(body, ensure_ascii=False).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(data)

    def address_string(self) -> str:
        """The peer for the log; a unix socket's peer has no address."""
        return str(self.client_address[0]) if self.client_address else "unix"


class Server(ThreadingHTTPServer):
    """HTTP over TCP."""

    daemon_threads = True
    desk: Desk

    def server_bind(self) -> None:
        # The base class asks the resolver for the host's name, which blocks where there is no network.
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]


class UnixServer(Server):
    """HTTP over a unix socket; its file is readable and writable for owner and group."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        path = str(self.server_address)
        _remove_stale(path)
        before = os.umask(0o117)
        try:
            self.socket.bind(path)
        finally:
            os.umask(before)
        self.server_name, self.server_port = "unix", 0

    def get_request(self):
        connection, _ = self.socket.accept()
        return connection, ("unix", 0)


def _remove_stale(path: str) -> None:
    """Removes a socket that nobody listens on; anything else in its place is an error."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(f"{path} exists and is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise FileExistsError(f"{path} is in use by another server")


def open_server(listen: str, desk: Desk) -> Server:
    """Binds `HOST:PORT`, `[V6]:PORT` or `unix:PATH`. Raises `ValueError` for other forms, `OSError` if taken."""
    if listen.startswith("unix:"):
        server: Server = UnixServer(listen.removeprefix("unix:"), Handler)  # type: ignore[arg-type]
    else:
        host, colon, port = listen.rpartition(":")
        if not colon or not port.isdecimal() or int(port) > 65535:
            raise ValueError(f"--listen wants HOST:PORT or unix:PATH, not {listen!r}")
        host = host.removeprefix("[").removesuffix("]")
        kind = type("Server6", (Server,), {"address_family": socket.AF_INET6}) if ":" in host else Server
        server = kind((host, int(port)), Handler)
    server.desk = desk
    return server


def serve(index: Index, listen: str) -> None:
    """Serves until SIGTERM or SIGINT. As a container's first process it must install its own handler:
    the kernel drops signals to a first process that has none."""
    desk = Desk(index)
    server = open_server(listen, desk)

    def stop(*_: object) -> None:
        threading.Thread(target=server.shutdown).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    print(f"librarian: listening on {listen}", file=sys.stderr, flush=True)
    threading.Thread(target=_prepare, args=(desk, server), daemon=True).start()
    try:
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()
        if listen.startswith("unix:"):
            Path(listen.removeprefix("unix:")).unlink(missing_ok=True)


def _prepare(desk: Desk, server: Server) -> None:
    try:
        desk.prepare()
    except OSError as error:
        print(f"librarian: the workspace cannot be read: {error}", file=sys.stderr, flush=True)
        server.shutdown()
        return
    _, health = desk.health()
    print(f"librarian: {health['documents']} documents, {health['passages']} passages", file=sys.stderr, flush=True)
