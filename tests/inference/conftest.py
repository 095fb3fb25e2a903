"""A tiny model, and synthetic songs."""

from embedding_fixtures import *  # noqa: F403 (fixtures)
