"""Labelled tones and clicks, as for probes."""

from probing_fixtures import clicks, tones  # noqa: F401 (fixtures)
