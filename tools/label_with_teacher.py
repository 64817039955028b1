"""Labels images with a larger detector; see --help."""

from ofa_det.cli.label_with_teacher import main

raise SystemExit(main())
