"""The command line: `librarian ask QUESTION` and `librarian serve`.

stdout is the answer, stderr is talk. Exit codes: 0 an answer, 1 no answer or no documents, 2 wrong
arguments.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from pathlib import Path

from librarian import __version__


def main(arguments: list[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except (OSError, ValueError) as error:
        print(f"librarian: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="librarian", description="Answers questions from the documents of a workspace.")
    parser.add_argument("--version", action="version", version=f"librarian {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--workspace",
        type=Path,
        default=Path(os.environ.get("LIBRARIAN_WORKSPACE", "/workspace")),
        help="the directory with the documents (default: $LIBRARIAN_WORKSPACE or /workspace)",
    )
    shared.add_argument("--cache", type=Path, metavar="DIR", help="keep vectors in this directory between runs")

    ask = commands.add_parser("ask", parents=[shared], help="print the passages that answer a question")
    ask.add_argument("question")
    ask.add_argument("--top", type=int, default=3, metavar="N", help="how many passages (default: 3)")
    ask.add_argument("--format", choices=("text", "json"), default="text")
    ask.set_defaults(run=_ask)

    serve = commands.add_parser("serve", parents=[shared], help="answer over HTTP")
    serve.add_argument("--listen", default="127.0.0.1:8080", metavar="HOST:PORT|unix:PATH")
    serve.set_defaults(run=_serve)
    return parser


def _index(options: argparse.Namespace):
    from librarian.embedding import SentenceEncoder
    from librarian.index import Index

    if not options.workspace.is_dir():
        raise NotADirectoryError(f"{options.workspace} is not a directory: name the documents with --workspace DIR")
    return Index(options.workspace, SentenceEncoder(), options.cache)


def _ask(options: argparse.Namespace) -> int:
    from librarian.serve import to_json

    if options.top < 1:
        raise ValueError("--top must be at least 1")
    if not options.question.strip():
        raise ValueError("the question is empty")
    index = _index(options)
    index.refresh()
    hits = index.ask(options.question, options.top)
    if not hits:
        print(f"librarian: no documents in {options.workspace}", file=sys.stderr)
        return 1
    if options.format == "json":
        print(json.dumps(to_json(options.question, hits), ensure_ascii=False, indent=2))
        return 0
    for hit in hits:
        passage = hit.passage
        print(f"{passage.path}:{passage.first_line}-{passage.last_line}  {passage.heading}  ({hit.score:.2f})")
        print(textwrap.indent(passage.text, "    "), end="\n\n")
    return 0


def _serve(options: argparse.Namespace) -> int:
    from librarian.serve import serve

    serve(_index(options), options.listen)
    return 0
