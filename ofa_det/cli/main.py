"""`ofa-det COMMAND`: every command under one name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

import ofa_det

COMMANDS = {
    "quickstart": ("quickstart", "the whole way on generated images, in minutes"),
    "build": ("build_det", "from a data set and latencies to the files, with a page"),
    "report": ("report_det", "write the page of a build anew"),
    "convert": ("convert_data", "bring VOC, YOLO, CSV or other COCO layouts into COCO layout, or COCO into YOLO"),
    "inspect": ("inspect_data", "what is in a data set, and what is wrong with it"),
    "fit-anchors": ("fit_anchors", "fit anchors to a data set's boxes"),
    "train": ("train_det", "train an elastic detector, or one subnet of it"),
    "search": ("search_det", "find the best subnet under a latency cap"),
    "export": ("export_det", "turn a trained detector into .tflite or .onnx"),
    "export-classifier": ("export_classifier", "turn a published once-for-all classifier into uint8 .tflite"),
    "eval": ("eval_det", "COCO metrics of a run folder, .onnx or .tflite"),
    "compare": ("compare", "two detectors on one data set, and whether the difference is more than chance"),
    "validate-submission": ("validate_submission", "check a .tflite against the rules of the competition"),
    "package": ("package_submission", "validate and package a .tflite as a submission"),
    "label": ("label_with_teacher", "label images with a larger detector"),
    "predict-latency": ("predict_latency", "predicted latency on a phone, with its error"),
    "measure-latency": ("measure_latency", "measured latency here or on a phone"),
    "calibrate-latency": ("calibrate_latency", "a latency table of a device, measured"),
    "detect": ("detect", "objects in images, folders, videos and a webcam"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: command and its options; `sys.argv[1:]` if none.

    Returns:
        Exit status: 2 for an unknown command, otherwise the command's.
    """
    name, *options = (sys.argv[1:] if argv is None else list(argv)) or ["--help"]
    if name in ("-h", "--help"):
        width = max(map(len, COMMANDS))
        print("usage: ofa-det COMMAND [--help] [options], ofa-det --version\n")
        print("\n".join(f"  {command:<{width}}  {text}" for command, (_, text) in COMMANDS.items()))
        return 0
    if name == "--version":
        print(f"ofa-det {ofa_det.__version__}")
        return 0
    name = name.replace("_", "-")
    if name not in COMMANDS:
        close = get_close_matches(name, COMMANDS, n=1)
        meant = f"; did you mean {close[0]}?" if close else ""
        print(f"ofa-det: error: expected one of {', '.join(COMMANDS)}, found {name!r}{meant}", file=sys.stderr)
        return 2
    # Imported on demand: a command should not wait for, or need, another command's libraries.
    module = import_module(f"ofa_det.cli.{COMMANDS[name][0]}")
    return int(module.main(options))


if __name__ == "__main__":
    raise SystemExit(main())
