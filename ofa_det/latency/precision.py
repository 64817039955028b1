"""The two precisions that phone runtimes have kernels and published figures for."""

from typing import Final, Literal, get_args

Precision = Literal["float32", "uint8"]
"""`uint8` stands for 8-bit quantized networks, whether their activations are signed (int8) or not."""

PRECISIONS: Final[tuple[Precision, ...]] = get_args(Precision)
