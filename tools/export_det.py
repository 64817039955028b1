"""Exports a trained detector as .tflite or .onnx, verified and measured; see --help."""

from ofa_det.cli.export_det import main

if __name__ == "__main__":
    raise SystemExit(main())
