"""Searches the subnet that fits a latency cap; see --help."""

from ofa_det.cli.search_det import main

raise SystemExit(main())
