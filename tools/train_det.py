"""Trains an elastic detector, or one subnet of it; see --help."""

from ofa_det.cli.train_det import main

if __name__ == "__main__":
    raise SystemExit(main())
