from dataclasses import replace

import pytest

from ofa_det.arch.low_rank import LayerRank
from ofa_det.artefacts.manifest import MANIFEST_FILE
from ofa_det.artefacts.records import to_yaml, write_record
from ofa_det.submission.claims import frontier_ap


def card(packaged, model, **changes) -> str:
    return (packaged(model, **changes).folder / "MODEL_CARD.md").read_text()


def test_the_card_tells_what_the_manifest_tells(model, packaged, measured_manifest):
    text = card(packaged, model)
    network = measured_manifest.network
    assert f"`{network.subnet}` of 12.3 M multiply-accumulates and 2.35 M parameters, 345 anchors" in text
    assert "`runs/det`, sha256 `abc123`" in text
    assert "int8, 17 training images" in text
    assert "box codes 21.2 dB, scores 23.8 dB" in text
    assert "The network in torch, as measured with the export: AP" in text
    assert "ofa-det export --config CARD/export.yaml" in text
    assert "ofa-det package --verify CARD --data.root" in text


def test_the_author_speaks(model, packaged):
    text = card(
        packaged,
        model,
        authors="A. Duck",
        description="Finds ducks.",
        licence="MIT",
        data_licence="CC BY 4.0",
        limits="No geese.",
        measured_ms=20.0,
        measured_on="Pixel 2, core 4",
    )
    assert "Authors: A. Duck" in text
    assert "Finds ducks." in text
    assert "Of the model: MIT." in text
    assert "licence of the data: CC BY 4.0" in text
    assert "- No geese." in text
    assert "Measured: **20.0 ms** (Pixel 2, core 4; stated by the author)." in text
    assert f"| AP on OVIC's frontier of April 2020 | {frontier_ap(20):.1f} |" in text
    assert "no phone has run this file" not in text


def test_a_file_made_elsewhere_has_a_card_too(model, packaged):
    text = card(packaged, model)
    assert "Unknown: no manifest.json" in text
    assert "uint8 `[1, 6, 8, 3]`" in text
    assert "| circle | 2 |" in text
    assert "Authors: not named" in text
    assert "no phone has run this file" in text


def test_every_teacher_of_the_way_is_named_with_its_licence(
    model, packaged, measured_manifest, tmp_path, teacher_labels, tiny_run
):
    own, of_the_supernet = teacher_labels("nano", "Apache-2.0"), teacher_labels("large", "")
    supernet = tiny_run("supernet", {"seed": 4, "teacher": {"labels": of_the_supernet}})
    config = {"seed": 3, "supernet": supernet, "teacher": {"labels": own, "unlabelled": []}}
    manifest = replace(measured_manifest, source=replace(measured_manifest.source, config=config))
    write_record(model.with_name(MANIFEST_FILE), manifest)

    submission = packaged(model)
    text = (submission.folder / "MODEL_CARD.md").read_text()
    assert "Teacher of `runs/det`: nano.onnx (onnx), licence Apache-2.0, sha256 `f00d`" in text
    assert f"Teacher of `{supernet}`: large.onnx (onnx), licence not stated" in text
    assert f"Before it, as its supernet: `{supernet}`" in text
    assert "Of the teacher nano.onnx: Apache-2.0." in text
    assert (submission.folder / "train_0_det.yaml").read_text() == to_yaml(config)
    trainings = (f"ofa-det train --config CARD/{name}" for name in ("train_1_supernet.yaml", "train_0_det.yaml"))
    assert "\n".join(trainings) in text
    assert f"Trainings read what `ofa-det label` had written to `{own}`, `{of_the_supernet}`." in text
    assert f"Seeds: 3 (runs/det), 4 ({supernet})." in text


def test_layers_of_low_rank_are_told_with_the_detector_that_they_were_made_of(
    model, packaged, measured_manifest, tiny_run
):
    whole, source, network = tiny_run("whole", {"seed": 4}), measured_manifest.source, measured_manifest.network
    lower = replace(network.detector, ranks=(LayerRank(layer="backbone.last", rank=16),))
    manifest = replace(
        measured_manifest,
        source=replace(source, config={"seed": 3, "low_rank": {"detector": whole}}),
        network=replace(network, detector=lower),
    )
    write_record(model.with_name(MANIFEST_FILE), manifest)
    text = card(packaged, model)
    assert "345 anchors; 1 of its 1x1 convolutions are two of low rank." in text
    assert f"Before it, as its detector: `{whole}`" in text


def test_a_teacher_that_cannot_be_named_is_refused(model, packaged, measured_manifest, tmp_path):
    config = {"teacher": {"labels": str(tmp_path / "gone")}}
    manifest = replace(measured_manifest, source=replace(measured_manifest.source, config=config))
    write_record(model.with_name(MANIFEST_FILE), manifest)
    with pytest.raises(ValueError, match="whose teacher and licence the card has to name, found none; bring them back"):
        packaged(model)
