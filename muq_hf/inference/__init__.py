"""Bulk embedding of music files: inputs, decoding workers, shards, and the kinds of output.

Nothing here is imported before it is asked for: the decoding workers load this package without torch.
"""
