"""Elastic object detectors: train once, search the subnet that fits a phone, ship it as a quantized `.tflite`.

Each step is a function of a typed config and writes a folder that the next one reads; see the README.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa_det.arch.description import PostProcessConfig
    from ofa_det.artefacts.configs import read_config
    from ofa_det.building.config import BuildConfig, RecipeConfig
    from ofa_det.building.run import build
    from ofa_det.data.anchors import AnchorConfig
    from ofa_det.data.augmentation_config import AugmentationConfig
    from ofa_det.data.sampling import SamplingConfig
    from ofa_det.data.splits import DataConfig
    from ofa_det.detection.assignment import AssignerConfig
    from ofa_det.detection.losses import LossConfig
    from ofa_det.evaluation.run import EvaluateConfig, evaluate
    from ofa_det.export.config import ExportConfig
    from ofa_det.export.run import export
    from ofa_det.latency.predict import PredictLatencyConfig, predict_latency
    from ofa_det.report.run import ReportConfig
    from ofa_det.search.evolution import EvolutionConfig
    from ofa_det.search.run import SearchConfig, search
    from ofa_det.submission.packaging import PackageConfig, package
    from ofa_det.teachers.run import LabelConfig, label
    from ofa_det.training.config import TrainConfig
    from ofa_det.training.run import train
    from ofa_det.training.schedule import PhaseConfig, ScheduleConfig
    from ofa_det.training.teaching import TeacherConfig, UnlabelledConfig

# Imported on demand: predicting a latency should not wait for torch.
_MODULES = {
    "read_config": "artefacts.configs",
    "PostProcessConfig": "arch.description",
    "AssignerConfig": "detection.assignment",
    "LossConfig": "detection.losses",
    "AugmentationConfig": "data.augmentation_config",
    "AnchorConfig": "data.anchors",
    "BuildConfig": "building.config",
    "DataConfig": "data.splits",
    "RecipeConfig": "building.config",
    "ReportConfig": "report.run",
    "SamplingConfig": "data.sampling",
    "EvaluateConfig": "evaluation.run",
    "EvolutionConfig": "search.evolution",
    "ExportConfig": "export.config",
    "LabelConfig": "teachers.run",
    "PackageConfig": "submission.packaging",
    "PhaseConfig": "training.schedule",
    "PredictLatencyConfig": "latency.predict",
    "ScheduleConfig": "training.schedule",
    "SearchConfig": "search.run",
    "TeacherConfig": "training.teaching",
    "TrainConfig": "training.config",
    "UnlabelledConfig": "training.teaching",
    "build": "building.run",
    "evaluate": "evaluation.run",
    "export": "export.run",
    "label": "teachers.run",
    "package": "submission.packaging",
    "predict_latency": "latency.predict",
    "search": "search.run",
    "train": "training.run",
}

__all__ = [
    "AnchorConfig",
    "AssignerConfig",
    "AugmentationConfig",
    "BuildConfig",
    "DataConfig",
    "EvaluateConfig",
    "EvolutionConfig",
    "ExportConfig",
    "LabelConfig",
    "LossConfig",
    "PackageConfig",
    "PhaseConfig",
    "PostProcessConfig",
    "PredictLatencyConfig",
    "RecipeConfig",
    "ReportConfig",
    "SamplingConfig",
    "ScheduleConfig",
    "SearchConfig",
    "TeacherConfig",
    "TrainConfig",
    "UnlabelledConfig",
    "build",
    "evaluate",
    "export",
    "label",
    "package",
    "predict_latency",
    "read_config",
    "search",
    "train",
]


# Python binds a package's name here when it is first loaded. Loaded now, `export` and `search` can go on to mean the
# functions; their modules are imported `from ofa_det.search.run`.
for _name in ("export", "search"):
    import_module(f"ofa_det.{_name}")
    del globals()[_name]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ofa_det' has no attribute {name!r}")
    return getattr(import_module(f"ofa_det.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
