import pytest

from ofa_det.data.coco_dataset import CocoDataset
from ofa_det.data.generated import generate_dataset
from ofa_det.data.splits import DataConfig, open_split


@pytest.fixture(scope="session")
def generated_root(tmp_path_factory):
    return generate_dataset(tmp_path_factory.mktemp("shapes"), num_train=26, num_val=6, image_size=(96, 128))


@pytest.fixture
def shapes(generated_root) -> CocoDataset:
    """26 images of shapes, one with a crowd."""
    return open_split(DataConfig(root=str(generated_root)), "train")
