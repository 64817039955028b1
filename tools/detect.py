"""Detects objects in images, videos and what a webcam sees; see --help."""

from ofa_det.cli.detect import main

if __name__ == "__main__":
    raise SystemExit(main())
