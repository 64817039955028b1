"""From a trained detector to a file: TF mirror, quantization, op surgery, ONNX, verification."""
