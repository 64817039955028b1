"""The configurations of the stages: the recipe's, with paths and lengths of the build and what its plan chose."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ofa_det.arch.classes import ClassNumbering
from ofa_det.artefacts.build_record import BuildFolder, cap_name
from ofa_det.artefacts.configs import read_config
from ofa_det.building.config import BuildConfig
from ofa_det.building.plan import Plan
from ofa_det.building.teaching import Teaching, taught_by
from ofa_det.evaluation.run import EvaluateConfig
from ofa_det.export.config import ExportConfig
from ofa_det.latency.latencies import Precision
from ofa_det.latency.measure import MeasureLatencyConfig
from ofa_det.search.config import SearchConfig
from ofa_det.submission.config import PackageConfig
from ofa_det.training.config import TrainConfig

_VALIDATIONS = 3


@dataclass(frozen=True, kw_only=True)
class Target:
    """What every latency of a build is of: searched under the caps, and stated of the files.

    Args:
        device: the phone.
        runtime: of the phone; None for its default.
        precision: of the files.
        classes: numbering of their score columns.
    """

    device: str
    runtime: str | None
    precision: Precision
    classes: ClassNumbering


def target(config: BuildConfig) -> Target:
    """The build's phone, and the files of its recipe.

    Raises:
        ValueError: a recipe that searches for other files than it exports.
    """
    search = search_recipe(config)
    export = read_config(ExportConfig, recipe_file("export", config.recipe.export), model="", data=config.data)
    if search.precision != (shipped := export.record.latency_precision):
        raise ValueError(
            f"expected a recipe that searches in the precision of its files, {shipped or 'none'} of {export.format}, "
            f"found {search.precision}; take another recipe.search or recipe.export"
        )
    return Target(
        device=config.device,
        # The recipe's runtime is one of the recipe's phone.
        runtime=search.runtime if config.device == search.device else None,
        precision=search.precision,
        classes=export.classes,
    )


def recipe_file(room: str, name_or_path: str) -> str:
    """A file of the recipe as `read_config` takes it: a path, or room and name."""
    return name_or_path if name_or_path.endswith((".yaml", ".yml")) else f"{room}/{name_or_path}"


def supernet_config(config: BuildConfig, plan: Plan, folder: BuildFolder) -> TrainConfig:
    """Training of the supernet."""
    recipe = read_config(TrainConfig, recipe_file("train", plan.trainings.supernet), data=config.data)
    own = read_config(TrainConfig, recipe_file("train", plan.trainings.supernet))
    holdout = config.data.holdout_fraction or own.data.holdout_fraction
    changed = replace(
        recipe,
        data=replace(config.data, holdout_fraction=holdout),
        output=str(folder.supernet),
        space=plan.space,
        pretrained=plan.pretrained,
    )
    timed = config.hours is not None or config.supernet_images is not None
    return _trained(config, changed, plan.spending.supernet_images if timed else None, plan.teaching)


def search_config(config: BuildConfig, plan: Plan, folder: BuildFolder) -> SearchConfig:
    """Search under all caps."""
    asked = target(config)
    return replace(
        search_recipe(config),
        supernet=str(folder.supernet),
        data=replace(config.data, holdout_fraction=0.0),
        latency_cap_ms=config.caps_ms,
        safety=config.safety,
        device=asked.device,
        runtime=asked.runtime,
        classes=asked.classes,
        max_evaluations=plan.spending.search_subnets,
        seed=config.seed,
        output=str(folder.search),
    )


def detector_config(
    config: BuildConfig, plan: Plan, folder: BuildFolder, cap_ms: float, images: int | None
) -> TrainConfig:
    """Training of the detector under a cap: fine-tuning of the subnet that was found, or of the whole network alone.

    Args:
        config: of the build.
        plan: of the build.
        folder: of the build.
        cap_ms: the cap.
        images: to draw; None for the recipe's number.
    """
    data = replace(config.data, holdout_fraction=0.0)
    output = str(folder.detector(cap_ms))
    if plan.elastic:
        recipe = read_config(
            TrainConfig,
            recipe_file("train", plan.trainings.finetune),
            data=data,
            output=output,
            supernet=str(folder.supernet),
            subnet=str(folder.subnet(cap_ms, len(config.caps_ms))),
        )
    else:
        recipe = replace(
            read_config(TrainConfig, recipe_file("train", plan.trainings.single), data=data),
            output=output,
            subnet=plan.whole[cap_name(cap_ms)],
            space=plan.space,
            pretrained=plan.pretrained,
        )
    return _trained(config, recipe, images, plan.teaching)


def export_config(config: BuildConfig, folder: BuildFolder, cap_ms: float, *, trained_ms: float) -> ExportConfig:
    """Export of the detector that was trained for a cap, under the same or another cap."""
    asked = target(config)
    return read_config(
        ExportConfig,
        recipe_file("export", config.recipe.export),
        model=str(folder.detector(trained_ms)),
        data=replace(config.data, holdout_fraction=0.0),
        output=str(folder.export(cap_ms)),
        ap_tolerance=config.ap_tolerance,
        device=asked.device,
        runtime=asked.runtime,
    )


def evaluate_config(
    config: BuildConfig, folder: BuildFolder, cap_ms: float, of: str, *, trained_ms: float
) -> EvaluateConfig:
    """Evaluation of the `float` detector that was trained for a cap, or of the `int8` file beside it."""
    detector = str(folder.detector(trained_ms))
    return EvaluateConfig(
        model=detector if of == "float" else str(folder.model(cap_ms)),
        data=replace(config.data, holdout_fraction=0.0),
        compare=None if of == "float" else detector,
        output=str(folder.evaluation(cap_ms, of)),
    )


def package_config(config: BuildConfig, folder: BuildFolder, cap_ms: float) -> PackageConfig:
    """Packaging of a file."""
    return PackageConfig(
        model=str(folder.model(cap_ms)),
        name=f"{config.name}_{cap_name(cap_ms)}",
        data=replace(config.data, holdout_fraction=0.0),
        output=str(folder.submissions),
        ap_tolerance=config.ap_tolerance,
        least_ap=config.least_ap,
    )


def host_config(folder: BuildFolder, cap_ms: float) -> MeasureLatencyConfig:
    """Measurement of a file on this machine."""
    return MeasureLatencyConfig(model=str(folder.model(cap_ms)))


def search_recipe(config: BuildConfig) -> SearchConfig:
    """The recipe's options of the search."""
    return read_config(SearchConfig, recipe_file("search", config.recipe.search), data=config.data)


def _trained(config: BuildConfig, recipe: TrainConfig, images: int | None, teaching: Teaching | None) -> TrainConfig:
    """A training with the length, seed and teacher of the build."""
    schedule, validate_every = recipe.schedule, recipe.validate_every
    if images is not None:
        warmup = min(schedule.warmup_images, images // 4)
        schedule = replace(schedule, num_images=images, warmup_images=warmup)
        validate_every = max(validate_every, images // _VALIDATIONS)
    return replace(
        recipe,
        schedule=schedule,
        teacher=taught_by(teaching, recipe.teacher),
        validate_every=validate_every,
        seed=config.seed,
        accelerator=config.accelerator,
    )
