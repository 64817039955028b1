"""The whole way on generated images, in minutes; see --help."""

from ofa_det.cli.quickstart import main

raise SystemExit(main())
