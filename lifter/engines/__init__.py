"""What computes a network: torch, oneDNN, ONNX Runtime, OpenVINO or CUDA graphs."""
