"""Validates, measures and packages a .tflite file as a submission; see --help."""

from ofa_det.cli.package_submission import main

if __name__ == "__main__":
    raise SystemExit(main())
