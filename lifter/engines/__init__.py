"""What computes a network: PyTorch, oneDNN, ONNX, OpenVINO, CUDA graphs."""
