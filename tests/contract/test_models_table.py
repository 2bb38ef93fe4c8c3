"""The table of models is what the installed libraries' registries give. Until it is finished, all that measures stands in the long run."""

import json

import pytest

from support.registries import table

#: Rows measured again, spread evenly over each library's models with attention.
SAMPLE = 40


def committed(library):
    return [row for row in table.read()["rows"] if row["library"] == library]


def sampled():
    rows = [row for library in table.LIBRARIES for row in committed(library) if row["status"] == "proved"]
    return {(row["library"], row["name"]): row for row in rows[:: max(1, len(rows) // SAMPLE)]}


def same(found, row):
    """Everything but the two measured numbers, which may differ by rounding."""
    loose = ("error", "effect")
    return {k: v for k, v in found.items() if k not in loose} == {k: v for k, v in row.items() if k not in loose}


def test_the_page_is_made_of_the_numbers():
    assert (table.HOME / "models.md").read_text(encoding="utf-8") == table.as_page(table.read())


def test_the_table_was_made_with_these_libraries():
    assert table.read()["versions"] == table.versions(), "run: python docs/make_models_table.py"


@pytest.mark.long
@pytest.mark.parametrize("library", table.LIBRARIES)
def test_every_registered_model_has_its_row(library):
    assert [row["name"] for row in committed(library)] == [name for _, name, _, _ in table.entries(library)]


@pytest.mark.long
@pytest.mark.parametrize("library", table.LIBRARIES)
def test_nearly_all_attention_is_captured_and_proved(library):
    found = table.counted(committed(library))
    assert found["proved"] >= 0.95 * found["with attention"], found
    assert all(row["error"] <= 1e-5 for row in committed(library))


@pytest.mark.long
@pytest.mark.parametrize("key", sorted(sampled()), ids=":".join)
def test_a_sample_measured_again(key):
    library, name = key
    (found,) = table.rows(library, lambda one: one == name)
    row = json.loads(json.dumps(found.plain()))
    assert same(row, sampled()[key]), (row, sampled()[key], "run: python docs/make_models_table.py")
    assert row["error"] <= 1e-5


@pytest.mark.long
@pytest.mark.parametrize("library", table.LIBRARIES)
def test_the_whole_table_measured_again(library):
    found = [json.loads(json.dumps(row.plain())) for row in table.rows(library)]
    wrong = [(row, old) for row, old in zip(found, committed(library), strict=True) if not same(row, old)]
    assert not wrong
