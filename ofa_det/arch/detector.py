"""What every subnet of one elastic detector shares: widths, activations, head and anchors."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

AnchorSizes = tuple[tuple[tuple[float, float], ...], ...]
"""Per level, the (width, height) of each anchor as fractions of the network input."""

NUM_LEVELS = 6


def ssd_anchor_sizes(min_scale: float = 0.2, max_scale: float = 0.95) -> AnchorSizes:
    """Anchors of the TF SSDLite MobileNetV3 configuration (SSD, section 2.2; lowest level reduced to three).

    Returns:
        Six levels of 3, 6, 6, 6, 6, 6 sizes: 2,034 anchors at 320 px.
    """
    if not 0 < min_scale < max_scale <= 1:
        raise ValueError(f"expected 0 < min_scale < max_scale <= 1, found {min_scale} and {max_scale}")
    step = (max_scale - min_scale) / (NUM_LEVELS - 1)
    scales = [min_scale + step * level for level in range(NUM_LEVELS)] + [1.0]
    lowest = (_size(min_scale / 2, 1.0), _size(min_scale, 2.0), _size(min_scale, 0.5))
    others = (
        (*tuple(_size(scale, ratio) for ratio in (1.0, 2.0, 0.5, 3.0, 1 / 3)), _size(math.sqrt(scale * above), 1.0))
        for scale, above in itertools.pairwise(scales[1:])
    )
    return (lowest, *others)


def _size(scale: float, ratio: float) -> tuple[float, float]:
    return scale * math.sqrt(ratio), scale / math.sqrt(ratio)


@dataclass(frozen=True, kw_only=True)
class BackboneConfig:
    """The fixed part of an OFA-MobileNetV3 backbone.

    Args:
        width_mult: factor on all backbone widths; the published OFA networks have 1.0 and 1.2.
        last_width: channels of the last 1x1 convolution, before `width_mult`. 480 is the halved last stage that
            MobileNetV3 uses for detection (section 6.3); 960 is the classification width.
        hswish: h-swish from stage 3 on; False puts ReLU6 there, which some accelerators and int8 runtimes need.
        squeeze_excite: squeeze-excite in stages 2, 4 and 5; False leaves it out.
    """

    width_mult: float = 1.0
    last_width: int = 480
    hswish: bool = True
    squeeze_excite: bool = True

    def __post_init__(self) -> None:
        if self.width_mult <= 0:
            raise ValueError(f"expected width_mult > 0, found {self.width_mult}")
        if self.last_width < 8:
            raise ValueError(f"expected last_width >= 8, found {self.last_width}")


@dataclass(frozen=True, kw_only=True)
class DetectorConfig:
    """An elastic detector less its elastic choices.

    Args:
        num_classes: object classes, without background.
        backbone: the fixed part of the backbone.
        extra_widths: channels of the four levels added after the backbone (SSDLite: 512, 256, 256, 128).
        anchor_sizes: (width, height) of the anchors of each of the six levels, as fractions of the input.
    """

    num_classes: int
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    extra_widths: tuple[int, ...] = (512, 256, 256, 128)
    anchor_sizes: AnchorSizes = field(default_factory=ssd_anchor_sizes)

    def __post_init__(self) -> None:
        if self.num_classes < 1:
            raise ValueError(f"expected num_classes >= 1, found {self.num_classes}")
        if len(self.extra_widths) != NUM_LEVELS - 2:
            raise ValueError(f"expected {NUM_LEVELS - 2} extra_widths, found {list(self.extra_widths)}")
        if len(self.anchor_sizes) != NUM_LEVELS or not all(self.anchor_sizes):
            raise ValueError(f"expected anchors on each of {NUM_LEVELS} levels, found {self.anchor_sizes}")
        if any(min(size) <= 0 for level in self.anchor_sizes for size in level):
            raise ValueError(f"expected positive anchor sizes, found {self.anchor_sizes}")

    def to_json(self) -> dict[str, Any]:
        """The value as JSON types."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DetectorConfig:
        """Inverse of `to_json`.

        Raises:
            ValueError: keys that are missing, unknown or of another type.
        """
        try:
            return cls(
                num_classes=value["num_classes"],
                backbone=BackboneConfig(**value["backbone"]),
                extra_widths=tuple(value["extra_widths"]),
                anchor_sizes=anchor_sizes_from_json(value["anchor_sizes"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected a detector config, found {error!r} in {dict(value)!r:.120}") from error


def anchor_sizes_from_json(levels: Any) -> AnchorSizes:
    """Lists of [width, height] per level to `AnchorSizes`."""
    return tuple(tuple((float(width), float(height)) for width, height in level) for level in levels)
