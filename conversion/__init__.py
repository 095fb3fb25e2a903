"""Published checkpoints → Hub folders. Each module runs as `python -m conversion.NAME`."""
