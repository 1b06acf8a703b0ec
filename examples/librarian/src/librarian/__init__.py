"""Librarian answers questions from the documents of a workspace.

It works offline: the embedding model travels in the package that it depends on, the documents are
read from a directory, and nothing is written anywhere unless a cache directory is named.
"""

__version__ = "0.1.0"
