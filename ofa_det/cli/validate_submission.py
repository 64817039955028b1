"""`ofa-det validate-submission`: does a .tflite file keep every rule of the competition?"""

from __future__ import annotations

import json

from ofa_det.artefacts.records import record_content
from ofa_det.cli.command import command
from ofa_det.cli.positional import with_path_first
from ofa_det.submission.validation import ValidateSubmissionConfig, validate


def run(config: ValidateSubmissionConfig) -> None:
    """Validates, prints a line for each rule, and refuses a file that breaks one."""
    report = validate(config)
    if config.json:
        print(json.dumps(record_content(report), indent=2, allow_nan=False))
    else:
        print("\n".join(map(str, report.checks)))
    if report.broken:
        raise ValueError(
            f"expected {config.model} to keep all {len(report.checks)} rules, found {len(report.broken)} broken: "
            f"{', '.join(check.name for check in report.broken)}"
        )
    if not config.json:
        print(f"{config.model} keeps all {len(report.checks)} rules, on {report.images} images and a random one")


main = with_path_first(
    command(
        "validate-submission",
        "Check a .tflite file against the rules of OVIC's detection track.",
        ValidateSubmissionConfig,
        run,
    ),
    "--model",
)
