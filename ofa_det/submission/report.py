"""What a validation finds: a list of rules, each kept or broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule and what the file has.

    Args:
        name: of the rule.
        expected: what the rule asks for.
        found: what the file has.
        passed: whether that is the same.
        mend: what to do about it, of a rule that is broken.
    """

    name: str
    expected: str
    found: str
    passed: bool
    mend: str = ""

    def __str__(self) -> str:
        """`FAIL  input type: expected uint8, found float32; export it ...`."""
        if self.passed:
            return f"pass  {self.name}: {self.found}"
        mend = f"; {self.mend}" if self.mend else ""
        return f"FAIL  {self.name}: expected {self.expected}, found {self.found}{mend}"


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """`validation.json`.

    Args:
        passed: whether the file keeps every rule.
        checks: in the order they were made; what needs a file that runs is left out of one that does not.
        images: how many it was run on, beside a random one.
    """

    SCHEMA_VERSION: ClassVar[int] = 2

    passed: bool
    checks: tuple[Check, ...]
    images: int = 0

    @property
    def broken(self) -> tuple[Check, ...]:
        """The rules that the file breaks."""
        return tuple(check for check in self.checks if not check.passed)

    def require(self, path: object) -> None:
        """Refuses a file that breaks a rule.

        Raises:
            ValueError: naming every rule that is broken.
        """
        if not self.broken:
            return
        found = "; ".join(f"{check.name}: expected {check.expected}, found {check.found}" for check in self.broken)
        mend = next((check.mend for check in self.broken if check.mend), "")
        raise ValueError(f"expected {path} to keep OVIC's interface, found {found}{f'; {mend}' if mend else ''}")


def check(
    name: str, expected: Any, found: Any, passed: Callable[[Any], bool] | bool | None = None, *, mend: str = ""
) -> Check:
    """A rule that asks for a value, or for what `passed` says of the one found."""
    kept = passed(found) if callable(passed) else found == expected if passed is None else passed
    return Check(name=name, expected=str(expected), found=str(found), passed=bool(kept), mend="" if kept else mend)
