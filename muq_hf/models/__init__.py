"""The models, and all that an exported Hub folder may hold; nothing else."""
