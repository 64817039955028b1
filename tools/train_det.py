"""Trains an elastic detector, or one subnet of it; see --help."""

from ofa_det.cli.train_det import main

raise SystemExit(main())
