"""What embedding and probing need: a tiny model, songs, labelled tones and clicks."""

from embedding_fixtures import *  # noqa: F403 (fixtures)
from probing_fixtures import *  # noqa: F403
from probing_fixtures import _short_training  # noqa: F401
