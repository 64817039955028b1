from ofa_det.data.categories import Category
from ofa_det.data.class_columns import class_columns


def categories(*ids: int) -> list[Category]:
    return [Category(id=id_, name=f"name {id_}") for id_ in ids]


def test_class_is_category_id_minus_one_and_gaps_are_unused():
    columns = class_columns(categories(1, 2, 5))
    assert columns.category_ids == (1, 2, None, None, 5)
    assert columns.labels == (0, 1, None, None, 2)
    assert columns.label_map() == "name 1\nname 2\n???\n???\nname 5\n"
    assert columns.has_unused


def test_classes_are_labels_where_an_id_is_below_one():
    columns = class_columns(categories(0, 3))
    assert columns.category_ids == (0, 3)
    assert columns.labels == (0, 1)
    assert not columns.has_unused


def test_classes_are_labels_where_ids_are_far_above_their_number():
    assert len(class_columns(categories(1, 100)).labels) == 100
    assert class_columns(categories(1, 101)).category_ids == (1, 101)
