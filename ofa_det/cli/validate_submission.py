"""`ofa-det validate-submission`: does a .tflite file keep every rule of the competition?"""

from __future__ import annotations

from ofa_det.artefacts.records import record_content
from ofa_det.cli.command import Printed, command
from ofa_det.submission.validation import ValidateSubmissionConfig, validate


def run(config: ValidateSubmissionConfig) -> Printed:
    """Validates; gives a line for each rule, and refuses a file that breaks one."""
    report = validate(config)
    lines = [str(check) for check in report.checks]
    failure = None
    if report.broken:
        failure = (
            f"expected {config.model} to keep all {len(report.checks)} rules, found {len(report.broken)} broken: "
            f"{', '.join(check.name for check in report.broken)}"
        )
    else:
        lines.append(f"{config.model} keeps all {len(report.checks)} rules, on {report.images} images and a random one")
    return Printed(text="\n".join(lines), values=record_content(report), failure=failure)


main = command(
    "validate-submission",
    "Check a .tflite file against the rules of OVIC's detection track.",
    ValidateSubmissionConfig,
    run,
    paths={"FILE": "--model"},
)
