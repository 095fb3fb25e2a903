"""Fingerprints depend on what is said, and on nothing else."""

import hashlib

from muq_hf.storage.fingerprint import fingerprint


def test_a_fingerprint_is_the_head_of_a_sha256():
    assert fingerprint({"b": 1, "a": [2]}, b"\0") == hashlib.sha256(b'{"a": [2], "b": 1}\0').hexdigest()[:16]


def test_the_order_of_fields_does_not_matter_and_every_value_does():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
