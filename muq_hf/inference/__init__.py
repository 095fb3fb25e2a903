"""Bulk embedding of music files: inputs, decoding workers, the running journal, and the two kinds of output.

Nothing here is imported before it is asked for: the decoding workers load this package without torch.
"""
