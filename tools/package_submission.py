"""Validates, measures and packages a .tflite file as a submission; see --help."""

from ofa_det.cli.package_submission import main

raise SystemExit(main())
