import pytest

from ofa_det.arch.classes import Category, check_categories, class_columns, label_columns


def categories(*ids: int) -> list[Category]:
    return [Category(id=id_, name=f"name {id_}") for id_ in ids]


def test_class_is_category_id_minus_one_and_gaps_are_unused() -> None:
    columns = class_columns(categories(1, 2, 5))
    assert columns.category_ids == (1, 2, None, None, 5)
    assert columns.labels == (0, 1, None, None, 2)
    assert columns.label_map() == "name 1\nname 2\n???\n???\nname 5\n"
    assert columns.has_unused


def test_classes_are_labels_where_an_id_is_below_one() -> None:
    columns = class_columns(categories(0, 3))
    assert columns.category_ids == (0, 3)
    assert columns.labels == (0, 1)
    assert not columns.has_unused


def test_classes_are_labels_where_ids_are_far_above_their_number() -> None:
    assert len(class_columns(categories(1, 100))) == 100
    assert class_columns(categories(1, 101)) == label_columns(categories(1, 101))
    assert len(class_columns(categories(*range(1, 30), 116))) == 116
    assert len(class_columns(categories(*range(1, 30), 121))) == 30


@pytest.mark.parametrize(
    ("found", "detail"),
    [
        (categories(1, 3), "found 3 'name 3' for 2 'name 2'"),
        ([Category(id=1, name="dog"), *categories(2)], "found 1 'dog' for 1 'name 1'"),
        (categories(1, 2, 3), "found 3;"),
        (categories(1), "found 1;"),
    ],
)
def test_other_categories_are_refused(found: list[Category], detail: str) -> None:
    check_categories(categories(1, 2), categories(1, 2), source="DATA", of="NETWORK")
    with pytest.raises(ValueError, match=f"the 2 categories of NETWORK in DATA, {detail}"):
        check_categories(found, categories(1, 2), source="DATA", of="NETWORK")
