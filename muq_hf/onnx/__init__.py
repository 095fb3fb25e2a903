"""Models as ONNX files: traced, in several precisions, joined and checked in ONNX Runtime."""
