"""Labels images with a larger detector; see --help."""

from ofa_det.cli.label_with_teacher import main

if __name__ == "__main__":
    raise SystemExit(main())
