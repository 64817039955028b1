"""Whatever is changed in a package, `verify_package` names it."""

import json
import shutil

import pytest

from ofa_det.artefacts.records import read_record
from ofa_det.submission.claims import Claims
from ofa_det.submission.model_card import model_card
from ofa_det.submission.packaging import md5_list
from ofa_det.submission.reproduction import verify_package


@pytest.fixture
def folder(model, packaged, measured_manifest):
    (model.with_name("labels.txt")).write_text("one\n")
    return packaged(model, measured_ms=31.5, measured_on="a phone").folder


def broken(folder, data):
    return [entry.name for entry in verify_package(folder, data, progress=False).broken]


def test_a_package_as_it_was_made_holds(folder, data):
    report = verify_package(folder, data, progress=False)
    assert report.passed
    assert {"hashes", "accuracy", "predicted latency", "scores", "manifest.json", "MODEL_CARD.md"} <= {
        entry.name for entry in report.checks
    }


def test_every_file_is_hashed(folder, data, tmp_path):
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".tflite"):
            continue  # These may not even open; see the other tests.
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / path.name).write_bytes(path.read_bytes() + b"\n")
        assert "hashes" in broken(copy, data), path.name
        shutil.rmtree(copy)
    (folder / "md5.txt").write_text((folder / "md5.txt").read_text().replace("a", "b"))
    assert broken(folder, data) == ["hashes"]


def test_a_byte_of_the_model_is_seen_though_it_still_runs(folder, data):
    (model,) = folder.glob("*.tflite")
    content = bytearray(model.read_bytes())
    content[content.index(b"unread")] = ord("x")  # Part of a tensor's name.
    model.write_bytes(bytes(content))
    with pytest.raises(ValueError, match="found the hash of another file"):
        broken(folder, data)
    (folder / "manifest.json").unlink()
    assert {"hashes", "the file"} <= set(broken(folder, data))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("metrics", "AP"), "accuracy"),
        (("metrics", "AR10"), "accuracy"),
        (("metrics", "detections"), "accuracy"),
        (("latency", "mean_ms"), "predicted latency"),
        (("latency", "error_ms"), "predicted latency"),
        (("scores", "frontier_ap"), "scores"),
        (("scores", "ap_in_time"), "scores"),
        (("scores", "images_in_time"), "scores"),
        (("torch", "torch_ap"), "torch, as the export measured it"),
        (("measured", "mean_ms"), "scores"),
        (("file", "bytes"), "the file"),
        (("images", "sha256"), "images"),
    ],
)
def test_a_changed_number_is_named_though_all_hashes_are_made_anew(folder, data, path, name):
    content = json.loads((folder / "claims.json").read_text())
    section, key = path
    value = content[section][key]
    content[section][key] = (
        value + 1 if isinstance(value, int) else value[::-1] if isinstance(value, str) else value * 1.1 + 0.01
    )
    (folder / "claims.json").write_text(json.dumps(content))
    claims = read_record(folder / "claims.json", Claims)
    from ofa_det.artefacts.manifest import read_manifest

    (folder / "MODEL_CARD.md").write_text(model_card(claims, read_manifest(folder / claims.file.name)))
    (folder / "md5.txt").write_text(md5_list(folder))
    assert name in broken(folder, data)


def test_a_number_of_the_card_and_of_the_detections_is_compared(folder, data):
    card = folder / "MODEL_CARD.md"
    card.write_text(card.read_text().replace("31.5 ms", "21.5 ms"))
    detections = json.loads((folder / "detections.json").read_text())
    (folder / "detections.json").write_text(json.dumps(detections[1:]))
    (folder / "md5.txt").write_text(md5_list(folder))
    report = verify_package(folder, data, progress=False)
    assert [entry.name for entry in report.broken] == ["detections.json", "MODEL_CARD.md"]
    assert "21.5 ms" in report.broken[1].found


def test_the_manifest_and_the_configurations_have_to_agree(folder, data):
    (folder / "export.yaml").write_text("{format: onnx}\n")
    (folder / "md5.txt").write_text(md5_list(folder))
    assert broken(folder, data) == ["export.yaml"]


def test_a_folder_that_is_no_package(tmp_path, data):
    with pytest.raises(FileNotFoundError, match=r"expected a submission's folder with claims\.json"):
        verify_package(tmp_path, data)
