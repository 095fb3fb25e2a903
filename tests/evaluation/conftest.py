"""Labelled tones and clicks, and a short training of heads."""

from probing_fixtures import *  # noqa: F403 (fixtures)
from probing_fixtures import _short_training  # noqa: F401
