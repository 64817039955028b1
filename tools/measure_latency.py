"""Time of a .tflite file, measured; see --help."""

from ofa_det.cli.measure_latency import main

if __name__ == "__main__":
    raise SystemExit(main())
