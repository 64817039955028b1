import pytest

from ofa_det.arch.classes import Category
from ofa_det.data.formats.csv_table import COLUMNS, read_csv

HEADER = ",".join(COLUMNS) + "\n"


def test_a_line_is_a_box_from_zero(root, picture, write, problems):
    picture("images/a.png")
    picture("images/b.png")
    picture("images/c.png")
    write("train_labels.csv", f"{HEADER}a.png,80,40,dog,0,0,80,40\na.png,80,40,cat,10,20,20,40\n")
    write("test_labels.csv", f"{HEADER}b.png,80,40,,,,,\nlost.png,8,4,dog,1,1,2,2\nb.png,80,40,dog,9,9,3,3\nb.png,80\n")
    source = read_csv(root, problems)
    assert source.categories == (Category(id=1, name="cat"), Category(id=2, name="dog"))
    found = {
        image.path.stem: (image.split, [(box.category_id, box.bbox) for box in image.boxes]) for image in source.images
    }
    assert found == {"a": ("train", [(2, (0, 0, 80, 40)), (1, (10, 20, 10, 20))]), "b": ("test", [])}
    assert {problem.kind: problem.count for problem in problems.found()} == {
        "degenerate boxes skipped": 1,
        "images in no table left out": 1,
        "lines with too few columns left out": 1,
        "lines without their image left out": 1,
    }


def test_columns_in_any_order_and_tables_beside_their_images(root, picture, write, problems):
    for split in ("train", "valid"):
        picture(f"{split}/a.png")
        write(
            f"{split}/_annotations.csv",
            '\ufeff"class",xmax,ymax,xmin,ymin,filename,width,height\r\ndog,9,9,1,1,a.png,80,40\r\n',
        )
    source = read_csv(root, problems)
    assert [(image.split, image.boxes[0].bbox) for image in source.images] == [
        ("train", (1, 1, 8, 8)),
        ("val", (1, 1, 8, 8)),
    ]


def test_other_tables_are_none(root, write, problems):
    write("results.csv", "epoch,loss\n1,2\n")
    with pytest.raises(ValueError, match="expected a CSV file with the columns filename,width"):
        read_csv(root, problems)
