"""A build from config to files and page."""

from __future__ import annotations

import logging
import os
import platform
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from ofa_det.artefacts.build_record import (
    BUILD_FILE,
    PLAN_FILE,
    BuildFolder,
    BuildRecord,
    BuiltDetector,
    cap_name,
    read_build,
)
from ofa_det.artefacts.configs import read_config
from ofa_det.artefacts.evaluations import EVALUATIONS_FILE
from ofa_det.artefacts.files import read_json, write_atomically, write_json
from ofa_det.artefacts.ledger import Ledger
from ofa_det.artefacts.locks import alone_in_output
from ofa_det.artefacts.manifest import MANIFEST_FILE, EvaluationRecord, read_manifest
from ofa_det.artefacts.model_file import CONFIG_FILE, MODEL_FILE
from ofa_det.artefacts.records import read_record, to_plain, to_yaml, write_record
from ofa_det.building.config import BuildConfig
from ofa_det.building.configurations import (
    detector_config,
    evaluate_config,
    export_config,
    host_config,
    package_config,
    recipe_file,
    search_config,
    supernet_config,
)
from ofa_det.building.detector_plan import DetectorPlan, plan_detectors
from ofa_det.building.plan import Plan
from ofa_det.building.planning import LABELS, expected_seconds, make_plan
from ofa_det.building.progress import BuildProgress, watch_labels, watch_search, watch_training
from ofa_det.building.stages import LEDGER_FILE, Stages, is_planned
from ofa_det.building.teaching import Teaching, check_teacher, label_config
from ofa_det.building.trainings import choose_trainings
from ofa_det.data.inspection import InspectConfig
from ofa_det.data.splits import open_split
from ofa_det.evaluation.inspection import PICTURES_FILE, RECORD_FILE, inspect
from ofa_det.evaluation.run import EvaluateConfig, evaluate
from ofa_det.export.run import export
from ofa_det.latency.measure import MeasureLatencyConfig, measure_latency
from ofa_det.report.run import ReportConfig, report
from ofa_det.search.config import SearchConfig
from ofa_det.search.run import search
from ofa_det.submission.packaging import package, package_title
from ofa_det.teachers.config import LabelConfig
from ofa_det.teachers.feature_file import FEATURES_FOLDER, HEADER_NAME
from ofa_det.teachers.label_file import LABELS_NAME
from ofa_det.teachers.labelling import SHARD_IMAGES
from ofa_det.teachers.run import MANIFEST_NAME, LabelManifest, label
from ofa_det.training.config import TrainConfig
from ofa_det.training.metrics_log import METRICS_FILE
from ofa_det.training.run import train

logger = logging.getLogger(__name__)

DETECTORS_FILE = "detectors.json"
HOST_FILE = "host_latency.json"
_USEFUL_AP = 0.05
_MAY_CHANGE = ("output", "resume", "ap_tolerance", "least_ap")


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """A finished build.

    Args:
        record: what `build.json` tells.
        report: the page.
    """

    record: BuildRecord
    report: Path


@alone_in_output
def build(config: BuildConfig, *, progress: bool = True) -> BuildResult:
    """Trains, searches, fine-tunes, exports, verifies, evaluates and packages a detector for every cap.

    Every stage is one of the other steps and leaves its own artefacts; `build.jsonl` remembers the finished ones with
    the hashes of their files. Interrupted, a build goes on with `resume`, inside a training or search from its last
    state.

    Args:
        config: of the build.
        progress: show one display over all stages.

    Raises:
        FileNotFoundError: no such data or recipe.
        ValueError: data, caps or options that do not serve, a folder in use, or a file that loses too much by export.
    """
    return _Build(config, progress).run()


class _Build:
    def __init__(self, config: BuildConfig, progress: bool) -> None:
        check_teacher(config)
        self.config = config
        self.folder = BuildFolder(Path(config.output))
        path = self.folder.root / LEDGER_FILE
        if not is_planned(path):
            path.unlink(missing_ok=True)  # What came to nothing, as of data that are not there, is no build.
        elif not config.resume:
            raise ValueError(
                f"expected a new --output, found a build in {self.folder.root}; pass --resume to go on with it"
            )
        identity = {key: value for key, value in to_plain(config).items() if key not in _MAY_CHANGE}
        mend = "pass the options it began with, or another --output"
        ledger = Ledger.open(path, identity, mend=mend)
        write_atomically(self.folder.root / CONFIG_FILE, to_yaml(replace(config, resume=False)))
        budget_s = None if config.hours is None else 3600 * config.hours
        self.progress = BuildProgress({"inspection": 20.0, "plan": 60.0}, budget_s=budget_s, shown=progress)
        self.stages = Stages(self.folder, ledger, self.progress)

    def run(self) -> BuildResult:
        """All stages."""
        config, folder, stages = self.config, self.folder, self.stages
        self._inspect()
        plan = self._plan()
        if plan.teaching is not None and plan.teaching.teacher is not None:
            self._label(plan, plan.teaching)
        if plan.elastic:
            self._supernet(plan)
            self._search(plan)
        detectors = self._plan_detectors(plan)
        for cap in config.caps_ms:
            if detectors.training_cap_ms(cap) == cap:
                self._train(f"detector_{cap_name(cap)}", detector_config(config, plan, folder, cap, detectors.images))
        for cap in config.caps_ms:
            self._finish(cap, detectors.training_cap_ms(cap))
        stages.write_commands()
        record = self._record(plan, detectors)
        write_record(folder.root / BUILD_FILE, record)
        with self.progress.stage("report"):
            page = report(ReportConfig(build=str(folder.root)))
        return BuildResult(record=read_build(folder.root), report=page)

    def _inspect(self) -> None:
        data = self.config.data
        trainings, _ = choose_trainings(self.config, open_split(data, "train"))
        recipe = read_config(TrainConfig, recipe_file("train", trainings.supernet), data=data)
        options = InspectConfig(
            data=data, space=recipe.space, anchors=recipe.anchors, output=str(self.folder.inspection)
        )

        def step(options: InspectConfig) -> None:
            for warning in inspect(options, progress=False).record.warnings:
                logger.warning("%s", warning)

        written = [self.folder.inspection / name for name in (RECORD_FILE, PICTURES_FILE)]
        self.stages.run_config("inspection", "inspect", options, step, writes=written)

    def _plan(self) -> Plan:
        path = self.folder.root / PLAN_FILE
        self.stages.run("plan", lambda: write_record(path, make_plan(self.config, self.folder)), writes=[path])
        plan = read_record(path, Plan)
        # By the budget the trainings of the detectors get their lengths when they are timed.
        whole = self.config.hours is None or self.config.finetune_images is not None
        self.progress.plan(expected_seconds(self.config, plan), whole=whole)
        for note in plan.notes:
            self.progress.tell(f"  {note}")
        return plan

    def _label(self, plan: Plan, teaching: Teaching) -> None:
        first = plan.trainings.supernet if plan.elastic else plan.trainings.single
        recipe = read_config(TrainConfig, recipe_file("train", first), data=self.config.data)
        options = label_config(self.config, teaching, recipe.augmentation)
        maps = [self.folder.labels / FEATURES_FOLDER / HEADER_NAME] if teaching.imitated else []
        shards = -(-len(open_split(options.data, "train")) // SHARD_IMAGES)
        self.stages.run_config(
            LABELS,
            "label",
            options,
            self._labelled,
            writes=[self.folder.labels / LABELS_NAME, *maps],
            watch=watch_labels(self.folder.labels, shards * (1 + teaching.imitated + bool(teaching.views))),
        )

    def _labelled(self, options: LabelConfig) -> None:
        label(replace(options, resume=True), progress=False)
        for note in self._teacher_notes():
            self.progress.tell(f"  {note}")

    def _teacher_notes(self) -> tuple[str, ...]:
        path = self.folder.labels / MANIFEST_NAME
        ap = read_record(path, LabelManifest).ap if path.is_file() else None
        if ap is None:
            return ()
        return (f"{self.config.teacher} has AP {100 * ap:.1f} on the training images",)

    def _supernet(self, plan: Plan) -> None:
        self._train("supernet", supernet_config(self.config, plan, self.folder))

    def _search(self, plan: Plan) -> None:
        caps = self.config.caps_ms
        options = search_config(self.config, plan, self.folder)
        self.stages.run_config(
            "search",
            "search",
            options,
            self._searched,
            writes=[self.folder.subnet(cap, len(caps)) for cap in caps],
            watch=watch_search(Path(options.output) / EVALUATIONS_FILE, options.max_evaluations),
        )

    def _searched(self, options: SearchConfig) -> None:
        result = search(replace(options, resume=True), progress=False)
        for line in result.summary().splitlines():
            self.progress.tell(f"  {line}")

    def _plan_detectors(self, plan: Plan) -> DetectorPlan:
        config, path = self.config, self.folder.root / DETECTORS_FILE

        def step() -> None:
            trainings = {cap: detector_config(config, plan, self.folder, cap, None) for cap in config.caps_ms}
            left = None if config.hours is None else 3600 * config.hours - self.stages.seconds
            write_record(path, plan_detectors(config, plan, trainings, seconds_left=left))

        self.stages.run("detectors", step, writes=[path])
        detectors = read_record(path, DetectorPlan)
        for cap in detectors.shared:
            self.progress.leave_out(f"detector_{cap}")
        timed = {f"detector_{cap}": (detectors.images or 0) / speed for cap, speed in detectors.speeds.items()}
        self.progress.plan(timed, whole=True)
        for note in detectors.notes:
            self.progress.tell(f"  {note}")
        return detectors

    def _train(self, name: str, options: TrainConfig) -> None:
        run_folder = Path(options.output)
        self.stages.run_config(
            name,
            "train",
            options,
            lambda options: train(replace(options, resume=True), progress=False),
            writes=[run_folder / MODEL_FILE],
            watch=watch_training(run_folder / METRICS_FILE, options.schedule.num_steps * options.schedule.batch_size),
        )

    def _finish(self, cap: float, trained_ms: float) -> None:
        """From the detector that was trained for a cap to a verified, measured, packaged file."""
        config, folder, name = self.config, self.folder, cap_name(cap)
        model = folder.model(cap)
        self.stages.run_config(
            f"export_{name}",
            "export",
            export_config(config, folder, cap, trained_ms=trained_ms),
            partial(export, progress=False),
            writes=[model, model.with_name(MANIFEST_FILE)],
        )
        for of in ("float", "int8"):
            evaluation = folder.evaluation(cap, of)
            self.stages.run_config(
                f"evaluation_{of}_{name}",
                "eval",
                evaluate_config(config, folder, cap, of, trained_ms=trained_ms),
                self._evaluated,
                writes=[evaluation / "metrics.json", evaluation / "detections.json"],
            )
        packaging = package_config(config, folder, cap)
        self.stages.run_config(
            f"package_{name}",
            "package",
            packaging,
            partial(package, progress=False),
            writes=[self._submission(cap) / f"{self._submission(cap).name}.tflite"],
        )
        host = model.with_name(HOST_FILE)

        def measure(options: MeasureLatencyConfig) -> None:
            write_json(host, measure_latency(options).to_json())

        self.stages.run_config(
            f"host_latency_{name}", "measure-latency", host_config(folder, cap), measure, writes=[host]
        )

    def _evaluated(self, options: EvaluateConfig) -> None:
        metrics = evaluate(options, progress=False)
        if metrics.ap < _USEFUL_AP:
            logger.warning(
                "%s finds next to nothing, AP %.1f: its training was too short; give it more --hours, in another "
                "--output",
                self.folder.relative(Path(options.model)),
                100 * metrics.ap,
            )

    def _submission(self, cap: float) -> Path:
        """Where the package goes, which carries its AP in its name."""
        name = package_config(self.config, self.folder, cap).name
        return self.folder.submissions / package_title(name, self._ap(cap, "int8"))

    def _ap(self, cap: float, of: str) -> float:
        ap = read_record(self.folder.evaluation(cap, of) / "metrics.json", EvaluationRecord).AP
        assert ap is not None, "evaluate refuses data sets on which AP is undefined"
        return ap

    def _record(self, plan: Plan, detectors: DetectorPlan) -> BuildRecord:
        return BuildRecord(
            machine=f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            data_root=self.config.data.root,
            safety=self.config.safety,
            elastic=plan.elastic,
            notes=(*plan.notes, *self._teacher_notes(), *detectors.notes),
            stages=tuple(self.stages.done),
            detectors=tuple(self._built(cap, detectors.training_cap_ms(cap)) for cap in self.config.caps_ms),
            seconds=round(self.stages.seconds, 1),
        )

    def _built(self, cap: float, trained_ms: float) -> BuiltDetector:
        folder, model = self.folder, self.folder.model(cap)
        manifest = read_manifest(model)
        assert manifest is not None
        assert manifest.latency is not None
        latency = manifest.latency
        return BuiltDetector(
            latency_cap_ms=cap,
            float_ap=self._ap(cap, "float"),
            int8_ap=self._ap(cap, "int8"),
            latency_ms=latency.mean_ms,
            latency_error_ms=latency.error_ms,
            at_most_ms=latency.mean_ms + self.config.safety * latency.error_ms,
            runtime=latency.runtime,
            host_ms=float(read_json(model.with_name(HOST_FILE))["median_ms"]),
            bytes=manifest.model.bytes,
            model=folder.relative(model),
            submission=folder.relative(self._submission(cap)),
            trained_for_ms=None if trained_ms == cap else trained_ms,
        )
