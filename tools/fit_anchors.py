"""Fits anchors to the boxes of a data set; see --help."""

from ofa_det.cli.fit_anchors import main

if __name__ == "__main__":
    raise SystemExit(main())
