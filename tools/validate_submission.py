"""Checks a .tflite file against the rules of OVIC's detection track; see --help."""

from ofa_det.cli.validate_submission import main

if __name__ == "__main__":
    raise SystemExit(main())
