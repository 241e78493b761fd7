"""Inference without PyTorch: the network as a graph for ONNX Runtime."""
