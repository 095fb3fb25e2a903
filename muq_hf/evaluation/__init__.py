"""What a representation of music knows: probes on frozen features, retrieval, zero-shot tagging and their guards.

Nothing here is imported before it is asked for; scikit-learn, mir_eval and matplotlib come with `pip install muq-hf[eval]`.
"""
