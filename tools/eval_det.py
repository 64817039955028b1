"""Scores a detector by COCO's metrics; see --help."""

from ofa_det.cli.eval_det import main

raise SystemExit(main())
