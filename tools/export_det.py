"""Exports a trained detector as .tflite or .onnx, verified and measured; see --help."""

from ofa_det.cli.export_det import main

raise SystemExit(main())
