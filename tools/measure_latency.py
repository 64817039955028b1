"""Time of a .tflite file, measured; see --help."""

from ofa_det.cli.measure_latency import main

raise SystemExit(main())
