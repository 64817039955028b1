"""Detects objects in one image and draws them; see --help."""

from ofa_det.cli.detect import main

raise SystemExit(main())
