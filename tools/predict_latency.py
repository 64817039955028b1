"""Phone latency of a network, predicted; see --help."""

from ofa_det.cli.predict_latency import main

raise SystemExit(main())
