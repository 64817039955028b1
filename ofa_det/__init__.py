"""Elastic object detectors: train once, search the subnet that fits a phone, ship it as a quantized `.tflite`.

Each step is a function of a typed config and writes a folder that the next one reads; see the README.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ofa_det.arch.description import PostProcessChange, PostProcessConfig
    from ofa_det.artefacts.configs import read_config
    from ofa_det.building.config import BuildConfig, RecipeConfig
    from ofa_det.building.run import build
    from ofa_det.data.anchors import AnchorConfig
    from ofa_det.data.augmentation_config import AugmentationConfig
    from ofa_det.data.formats.conversion import ConvertConfig, convert
    from ofa_det.data.inspection import InspectConfig
    from ofa_det.data.sampling import SamplingConfig
    from ofa_det.data.splits import DataConfig
    from ofa_det.detection.assignment import AssignerConfig
    from ofa_det.detection.losses import LossConfig
    from ofa_det.evaluation.compare import CompareConfig, compare
    from ofa_det.evaluation.detect import DetectConfig, detect
    from ofa_det.evaluation.inspection import inspect
    from ofa_det.evaluation.run import EvaluateConfig, evaluate
    from ofa_det.export.config import ExportConfig
    from ofa_det.export.run import export
    from ofa_det.latency.predict import PredictLatencyConfig, predict_latency
    from ofa_det.report.run import ReportConfig, report
    from ofa_det.search.choice import RescoreConfig
    from ofa_det.search.config import ScoreConfig, SearchConfig
    from ofa_det.search.evolution import EvolutionConfig
    from ofa_det.search.linas import LinasConfig
    from ofa_det.search.nsga2 import NsgaConfig
    from ofa_det.search.objective import Limits, Objective
    from ofa_det.search.random_search import RandomConfig
    from ofa_det.search.run import search
    from ofa_det.submission.config import PackageConfig
    from ofa_det.submission.packaging import package
    from ofa_det.teachers.config import LabelConfig
    from ofa_det.teachers.run import label
    from ofa_det.training.config import TrainConfig
    from ofa_det.training.run import train
    from ofa_det.training.schedule import PhaseConfig, ScheduleConfig
    from ofa_det.training.teaching import TeacherConfig, UnlabelledConfig

__version__ = "0.3.0"

# Imported on demand: predicting a latency should not wait for torch.
_MODULES = {
    "read_config": "artefacts.configs",
    "PostProcessChange": "arch.description",
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
    "CompareConfig": "evaluation.compare",
    "ConvertConfig": "data.formats.conversion",
    "DetectConfig": "evaluation.detect",
    "EvaluateConfig": "evaluation.run",
    "EvolutionConfig": "search.evolution",
    "ExportConfig": "export.config",
    "InspectConfig": "data.inspection",
    "LabelConfig": "teachers.config",
    "PackageConfig": "submission.config",
    "PhaseConfig": "training.schedule",
    "PredictLatencyConfig": "latency.predict",
    "ScheduleConfig": "training.schedule",
    "SearchConfig": "search.config",
    "LinasConfig": "search.linas",
    "Limits": "search.objective",
    "NsgaConfig": "search.nsga2",
    "Objective": "search.objective",
    "RandomConfig": "search.random_search",
    "RescoreConfig": "search.choice",
    "ScoreConfig": "search.config",
    "TeacherConfig": "training.teaching",
    "TrainConfig": "training.config",
    "UnlabelledConfig": "training.teaching",
    "build": "building.run",
    "compare": "evaluation.compare",
    "convert": "data.formats.conversion",
    "detect": "evaluation.detect",
    "evaluate": "evaluation.run",
    "export": "export.run",
    "inspect": "evaluation.inspection",
    "label": "teachers.run",
    "package": "submission.packaging",
    "predict_latency": "latency.predict",
    "report": "report.run",
    "search": "search.run",
    "train": "training.run",
}

__all__ = [
    "AnchorConfig",
    "AssignerConfig",
    "AugmentationConfig",
    "BuildConfig",
    "CompareConfig",
    "ConvertConfig",
    "DataConfig",
    "DetectConfig",
    "EvaluateConfig",
    "EvolutionConfig",
    "ExportConfig",
    "InspectConfig",
    "LabelConfig",
    "Limits",
    "LinasConfig",
    "LossConfig",
    "NsgaConfig",
    "Objective",
    "PackageConfig",
    "PhaseConfig",
    "PostProcessChange",
    "PostProcessConfig",
    "PredictLatencyConfig",
    "RandomConfig",
    "RecipeConfig",
    "ReportConfig",
    "RescoreConfig",
    "SamplingConfig",
    "ScheduleConfig",
    "ScoreConfig",
    "SearchConfig",
    "TeacherConfig",
    "TrainConfig",
    "UnlabelledConfig",
    "build",
    "compare",
    "convert",
    "detect",
    "evaluate",
    "export",
    "inspect",
    "label",
    "package",
    "predict_latency",
    "read_config",
    "report",
    "search",
    "train",
]


# Python binds a package's name here when it is first loaded. Loaded now, `export`, `report` and `search` can go on to
# mean the functions; their modules are imported `from ofa_det.search.run`.
for _name in ("export", "report", "search"):
    import_module(f"ofa_det.{_name}")
    del globals()[_name]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'ofa_det' has no attribute {name!r}")
    return getattr(import_module(f"ofa_det.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
