"""Detects objects in one image and draws them; see --help."""

from ofa_det.cli.detect import main

if __name__ == "__main__":
    raise SystemExit(main())
