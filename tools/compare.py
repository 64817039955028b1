"""Compares two detectors on one data set; see --help."""

from ofa_det.cli.compare import main

if __name__ == "__main__":
    raise SystemExit(main())
