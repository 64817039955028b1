from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from ofa_det.arch.description import ModelDescription
from ofa_det.artefacts.configs import read_space
from ofa_det.artefacts.model_file import MODEL_FILE, description_header
from ofa_det.artefacts.records import to_yaml
from ofa_det.latency import calibrate
from ofa_det.latency.calibrate import CalibrateLatencyConfig, calibrate_latency
from ofa_det.latency.calibrated_table import TABLE_FILE
from ofa_det.latency.calibration_design import design, feature_shares
from ofa_det.latency.calibration_fit import detector_features, fit_costs
from ofa_det.latency.features import FEATURES, POSTPROCESSING, network_features
from ofa_det.latency.model import latency_model
from ofa_det.latency.postprocessing import HOST_LAW
from ofa_det.latency.predict import PredictLatencyConfig, predict_latency
from ofa_det.latency.tflite_file import parse_tflite

COSTS = np.array([0.02, 0.3, 0.1, 0.05, 0.08, 0.3, 0.2, 0.4, 2.0, 0.3, 0.002, 1.0])


@pytest.fixture(scope="module")
def space():
    """Few layers at few resolutions."""
    return replace(read_space("ssdlite_mbv3_tiny"), resolutions=(64, 96))


@pytest.fixture(scope="module")
def space_file(space, tmp_path_factory):
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(to_yaml(space))
    return str(path)


class MadeUpDevice:
    """Takes what made-up costs say, and 1 % more or less; knows what it was given."""

    name, runtime, machine = "made up", "made-up runtime", {"governor": "none"}

    def __init__(self):
        self.timed = 0

    def median_ms(self, content):
        self.timed += 1
        network = parse_tflite(content, where="a file")
        noise = 1 + 0.01 * (-1) ** self.timed
        features = network_features(network.layers)
        return noise * (float(features @ COSTS) + HOST_LAW.tail_ms(network.tail.with_candidates(_candidates(network))))


def _candidates(network):
    # A threshold of 1 lets nothing through, others what noise from -0.5 to 0.5 gives.
    return 0 if network.tail.suppression is None or network.layers else network.tail.suppression.candidates


@pytest.fixture
def device(monkeypatch):
    made_up = MadeUpDevice()
    monkeypatch.setattr(calibrate, "open_device", lambda config: made_up)
    return made_up


def _config(space_file, output, **changes):
    options = {"space": space_file, "num_classes": 5, "networks": 24, "held_out": 12, "output": str(output)}
    return CalibrateLatencyConfig(**options | changes)


def test_a_design_is_distinct_and_spread(space):
    description = ModelDescription.assumed(space, num_classes=5)
    fitted, held_out = design(description, 30, 10, seed=0)
    assert len(set(fitted)) == 30
    assert len(set(held_out)) == 10
    assert not set(fitted) & set(held_out)
    assert all(subnet in space for subnet in (*fitted, *held_out))
    assert {space.smallest(r) for r in (64, 96)} | {space.largest(r) for r in (64, 96)} <= set(fitted)
    assert design(description, 30, 10, seed=0) == (fitted, held_out)

    def worst_variance(subnets):
        shares = np.array([feature_shares(description, subnet) for subnet in subnets])
        shares = shares[:, shares.max(axis=0) > 0] / shares.max(axis=0)[shares.max(axis=0) > 0]
        return float(np.linalg.slogdet(shares.T @ shares + 1e-6 * np.eye(shares.shape[1]))[1])

    assert worst_variance(fitted) > worst_variance(held_out * 3)


def test_costs_are_found_again(space):
    description = ModelDescription.assumed(space, num_classes=5)
    fitted, held_out = design(description, 40, 10, seed=0)
    rows = [detector_features(description.shipped_plan(s), HOST_LAW, "uint8") for s in (*fitted, *held_out)]
    features = np.array(rows)
    assert features[:, POSTPROCESSING].min() > 0
    latencies = features @ COSTS
    costs = fit_costs(features[:40], latencies[:40])
    assert features[40:] @ costs == pytest.approx(latencies[40:], rel=0.02)


def test_a_table_is_a_device(space, space_file, device, tmp_path):
    found = calibrate_latency(_config(space_file, tmp_path / "out"), progress=False)
    table = found.table
    assert table.held_out.networks == 12
    assert table.held_out.spearman > 0.97
    assert table.held_out.mean_error < 0.06
    assert len(found.subnets) == 36
    assert (table.device, table.runtime, table.machine) == ("made up", "made-up runtime", {"governor": "none"})
    path = str(tmp_path / "out" / TABLE_FILE)
    model = latency_model(path)
    subnet = found.subnets[-1]
    (named,) = predict_latency(
        PredictLatencyConfig(model=str(subnet.subnet), space=space_file, device=path, candidates=0)
    )
    prediction = named.prediction
    assert (prediction.device, prediction.runtime, prediction.precision) == ("made up", "made-up runtime", "uint8")
    assert prediction.rests_on.startswith("12 subnets of ")
    assert "Spearman" in prediction.error_source
    # 80 classes there, 5 here: the same network but for its score predictors.
    assert prediction.mean_ms > subnet.predicted_ms
    assert model.errors.network == table.held_out.rms_error
    assert model.errors.postprocessing == table.law.error


def test_a_table_is_of_one_precision_and_one_set_of_features(space_file, device, tmp_path):
    calibrate_latency(_config(space_file, tmp_path / "out"), progress=False)
    path = tmp_path / "out" / TABLE_FILE
    with pytest.raises(ValueError, match=r"expected --precision uint8, the one that .* is of, found float32"):
        latency_model(str(path), precision="float32")
    path.write_text(path.read_text().replace(f'"{FEATURES[0]}"', '"other"'))
    with pytest.raises(ValueError, match=r"expected costs of .* found other, .*; calibrate again"):
        latency_model(str(path))
    with pytest.raises(FileNotFoundError, match="expected a table of calibrate_latency"):
        latency_model(str(tmp_path / "none.json"))


def test_a_calibration_goes_on_where_it_was_cut_off(space_file, device, tmp_path):
    config = _config(space_file, tmp_path / "out")
    first = calibrate_latency(config, progress=False)
    timed = device.timed
    with pytest.raises(ValueError, match="pass --resume or another --output"):
        calibrate_latency(config, progress=False)
    ledger = tmp_path / "out/measurements.jsonl"
    ledger.write_text("".join(f"{line}\n" for line in ledger.read_text().splitlines()[:-3]))
    assert calibrate_latency(replace(config, resume=True), progress=False).table.device == first.table.device
    assert device.timed == timed + 3
    with pytest.raises(ValueError, match="expected precision"):
        calibrate_latency(replace(config, resume=True, precision="float32"), progress=False)


def test_a_supernet_may_be_moved_and_another_is_refused(space, device, tmp_path):
    description = ModelDescription.assumed(space, num_classes=5)
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    save_file({"weight": np.zeros(1, np.float32)}, run_folder / MODEL_FILE, description_header(description))
    config = _config(None, tmp_path / "out", space="unread", supernet=str(run_folder))
    calibrate_latency(config, progress=False)
    timed = device.timed
    moved = run_folder.rename(tmp_path / "moved")
    config = replace(config, supernet=str(moved), resume=True)
    assert calibrate_latency(config, progress=False).table.space == str(moved)
    assert device.timed == timed
    more, larger = (
        ModelDescription.assumed(space, num_classes=6),
        ModelDescription.assumed(replace(space, resolutions=(64, 128)), num_classes=5),
    )
    for other, message in (
        (more, r"expected score_columns 6 in .*measurements\.jsonl, found 5"),
        (larger, r"expected space\.resolutions \[64, 128\] in .*, found \[64, 96\]"),
    ):
        save_file({"weight": np.zeros(1, np.float32)}, moved / MODEL_FILE, description_header(other))
        with pytest.raises(ValueError, match=message):
            calibrate_latency(config, progress=False)


def test_another_core_of_a_phone_is_another_device(space_file, device, tmp_path):
    config = _config(space_file, tmp_path / "out", device="adb")
    calibrate_latency(config, progress=False)
    with pytest.raises(ValueError, match=r"expected cpu_mask '1' in .*, found '10'"):
        calibrate_latency(replace(config, resume=True, cpu_mask="1"), progress=False)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"networks": 5}, "expected networks > 12, one for each cost"),
        ({"held_out": 1}, "held_out >= 3"),
        ({"num_classes": 0}, "num_classes >= 1, found 0"),
        ({"threads": 0}, "threads >= 1"),
        ({"device": "phone"}, "expected a device of host, adb, found 'phone'"),
        ({"cpu_mask": "0"}, "hexadecimal cpu_mask of at least one core, found '0'"),
        ({"device": "adb", "clock": "cpu"}, "expected --clock with --device host, found cpu with adb; leave it out"),
    ],
)
def test_impossible_choices_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        CalibrateLatencyConfig(**changes)


def test_a_small_space_is_refused(space):
    stages = tuple(
        replace(s, depths=s.depths[:1], kernel_sizes=(3,), expand_ratios=s.expand_ratios[:1]) for s in space.stages
    )
    small = replace(space, backbone=replace(space.backbone, stages=stages))
    description = ModelDescription.assumed(small, num_classes=5)
    with pytest.raises(ValueError, match="expected a space of more than 36 subnets, found 2"):
        design(description, 24, 12, seed=0)
