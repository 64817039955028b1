"""A command that does nothing but what a test asks."""

from dataclasses import dataclass, field

from ofa_det.cli.command import command


@dataclass(frozen=True, kw_only=True)
class Depths:
    """A section.

    Args:
        choices: ascending.
        most: of them.
    """

    choices: tuple[int, ...] = (2, 3)
    most: int | None = None

    def __post_init__(self) -> None:
        if list(self.choices) != sorted(self.choices):
            raise ValueError(f"expected ascending choices,\nfound {list(self.choices)}")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of a command.

    Args:
        root: folder to read.
        resume: go on.
        rate: per second.
        depths: of stages.
    """

    root: str
    resume: bool = False
    rate: float = 0.5
    depths: Depths = field(default_factory=Depths)


def run_with(*argv, action=lambda options: None, **more):
    seen = []

    def run(options):
        seen.append(options)
        action(options)

    return command("test", "Tests.", Options, run, **more)(argv), seen
