"""What lies beside an exported file and tells its classes."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ofa_det.arch.files import read_json

LABELS_FILE = "labels.txt"
MANIFEST_FILE = "manifest.json"


def class_category_ids(model: Path) -> tuple[int | None, ...] | None:
    """Category id of each class of a file, None for an unused one; None without a manifest beside the file.

    Raises:
        ValueError: the manifest is damaged or describes another file.
    """
    path = model.with_name(MANIFEST_FILE)
    if not path.is_file():
        return None
    manifest = read_json(path)
    ids = manifest.get("class_category_ids") if isinstance(manifest, dict) else None
    if not isinstance(ids, list) or not all(isinstance(value, int | None) for value in ids):
        raise ValueError(f"expected class_category_ids, a list of ids and nulls, in {path}, found {ids!r:.80}")
    described = manifest.get("model", {}).get("sha256")
    if described is not None and described != hashlib.sha256(model.read_bytes()).hexdigest():
        raise ValueError(
            f"expected {path} to describe {model.name}, found the hash of another file; "
            "export the model again, or move it away from that manifest"
        )
    return tuple(ids)
