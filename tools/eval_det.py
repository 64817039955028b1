"""Scores a detector by COCO's metrics; see --help."""

from ofa_det.cli.eval_det import main

if __name__ == "__main__":
    raise SystemExit(main())
