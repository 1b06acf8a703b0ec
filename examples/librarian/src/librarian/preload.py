"""Loads the model when it is imported: for a template (`corral warm librarian --import librarian.preload`)."""

import librarian.index
import librarian.serve
from librarian.embedding import SentenceEncoder

SentenceEncoder.load()
