"""stub"""
from dataclasses import dataclass
from pathlib import Path
@dataclass(frozen=True, kw_only=True)
class ReportConfig:
    """Report.

    Args:
        build: folder.
    """
    build: str

def report(config: ReportConfig) -> Path:
    return Path(config.build) / "report.html"
