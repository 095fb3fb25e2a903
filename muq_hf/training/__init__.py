"""Training of all three stages with `transformers.Trainer`: Mel-RVQ, masked prediction, iterative refinement."""
