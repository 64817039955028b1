import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter
from ofa_networks import net_config, static_logits, static_state, write_network
from PIL import Image

from ofa_det.artefacts.ofa_files import read_ofa_classifier
from ofa_det.artefacts.records import read_record
from ofa_det.cli.export_classifier import main
from ofa_det.detection.preprocessing import normalise
from ofa_det.export import classifier as module
from ofa_det.export.classifier import ClassifierManifest, ExportClassifierConfig, central_part, export_classifier
from ofa_det.models.classifier import Classifier
from ofa_det.models.published_weights import ofa_classifier_weights

SIZE, CLASSES = 64, 10
SUBNET = "r64 k3e1 k3e3.k5e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3 k3e3.k3e3"


@pytest.fixture(scope="module")
def pictures():
    """(16, 64, 64, 3) smooth colours, which differ from each other."""
    coarse = np.random.default_rng(0).integers(0, 256, (16, 5, 5, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(image).resize((SIZE, SIZE), Image.BICUBIC)) for image in coarse])


@pytest.fixture(scope="module")
def net():
    return net_config(SUBNET, num_classes=CLASSES)


@pytest.fixture(scope="module")
def state(net, pictures):
    return static_state(net, pictures)


@pytest.fixture(scope="module")
def config(net, state, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ofa")
    net_path, weights = write_network(folder, net, state, SIZE)
    (folder / "images").mkdir()
    for number, image in enumerate(pictures):
        Image.fromarray(image).save(folder / f"images/{number:02}.png")
    output = str(folder / "out")
    return ExportClassifierConfig(
        net=str(net_path), weights=str(weights), images=str(folder / "images"), output=output, least_agreement=0.5
    )


def read(config, state):
    network = read_ofa_classifier(config.net)
    plan = network.trained_plan
    return Classifier(plan, ofa_classifier_weights(state, network.subnet, plan, source="here"))


def test_the_network_computes_what_its_definition_says(config, net, state, pictures):
    classifier = read(config, state)
    with torch.no_grad():
        found = classifier(normalise(torch.from_numpy(pictures).permute(0, 3, 1, 2)))
    wanted = static_logits(net, state, pictures)
    assert wanted.std() > 0.5
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.tflite
def test_the_file_has_ovics_interface_and_agrees_with_torch(config, state, pictures):
    result = export_classifier(config)
    manifest = read_record(result.model_path.with_name("manifest.json"), ClassifierManifest)
    assert manifest == result.manifest
    assert (manifest.classes, manifest.calibration_images, manifest.compared_images) == (CLASSES + 1, 8, 8)
    assert manifest.probability_sqnr_db > 6  # Random weights that eight pictures calibrated.
    content = result.model_path.read_bytes()
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (entry,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (entry["shape"].tolist(), entry["dtype"], entry["quantization"]) == (
        [1, SIZE, SIZE, 3],
        np.uint8,
        (1 / 128, 128),
    )
    assert (output["shape"].tolist(), output["dtype"], output["quantization"]) == (
        [1, CLASSES + 1],
        np.uint8,
        (1 / 256, 0),
    )
    runner, classifier = interpreter.get_signature_runner(), read(config, state)
    shown = [central_part(image, SIZE) for image in pictures[1::2]]
    found = np.stack([runner(images=image[None])["probabilities"][0] / 256 for image in shown])
    with torch.no_grad():
        wanted = classifier(normalise(torch.from_numpy(np.stack(shown)).permute(0, 3, 1, 2))).softmax(1).numpy()
    assert (found[:, 1:].argmax(1) == wanted.argmax(1)).mean() == manifest.same_best_class
    assert found[:, 0].max() < 0.05  # The background.
    assert np.abs(found[:, 1:] - wanted).max() == pytest.approx(manifest.probability_error, abs=1e-6)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.read("labels.txt").decode().splitlines()[:2] == ["background", "class 0"]


@pytest.mark.slow
@pytest.mark.tflite
def test_a_file_that_is_not_the_network_is_refused(config, tmp_path, monkeypatch):
    ranges = module.classifier_ranges
    broken = {}

    def halved(classifier, images, *, rule):
        found = dict(ranges(classifier, images, rule=rule))
        low, high = found["backbone.stages.2.1.add"]
        return {**found, "backbone.stages.2.1.add": (low / 50, high / 50)} | broken

    monkeypatch.setattr(module, "classifier_ranges", halved)
    with pytest.raises(
        ValueError,
        match=r"expected (probabilities of 6 dB|torch's best class).* noise is added in backbone\.stages\.2\.1\.add ",
    ):
        export_classifier(replace(config, output=str(tmp_path / "out"), least_agreement=0.95))
    assert not (tmp_path / "out").exists()


def test_weights_of_another_network_are_refused(config, state, tmp_path):
    network = read_ofa_classifier(config.net)

    def weights(changed):
        return ofa_classifier_weights(changed, network.subnet, network.trained_plan, source="here")

    wider = {**state, "blocks.1.mobile_inverted_conv.depth_conv.conv.weight": torch.zeros(96, 1, 7, 7)}
    with pytest.raises(ValueError, match=r"found \(96, 1, 7, 7\); take the weights .* not those of a supernet"):
        weights(wider)
    with pytest.raises(ValueError, match=r"found blocks\.19\.conv\.weight too"):
        weights({**state, "blocks.19.conv.weight": torch.zeros(1)})
    key = "feature_mix_layer.conv.weight"
    with pytest.raises(ValueError, match=r"of classifier\.mix in here, found none"):
        weights({name: value for name, value in state.items() if name != key})


def test_the_central_part_is_what_ovic_shows():
    image = np.zeros((80, 160, 3), np.uint8)
    image[5:75, 10:150] = 200
    assert (central_part(image, 64) == 200).all()
    image[5:75, 10:11] = 0
    assert (central_part(image, 64)[:, 0] < 200).all()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--net", "nowhere"], "expected the net.config of a once-for-all network"),
        (["--weights", "nowhere"], "expected the weights of"),
        (["--images", "nowhere"], "expected a folder of pictures"),
        (["--labels", "nowhere"], "expected a list of labels"),
        (["--ranges", "none"], "ranges"),
    ],
)
def test_a_mistake_is_one_line(config, more, words, capsys):
    given = ["--net", config.net, "--weights", config.weights, "--images", config.images, "--output", config.output]
    assert main([*given, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
