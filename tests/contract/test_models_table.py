"""The table of models is what the installed libraries' registries give; every number in it can be measured again."""

import copy
import subprocess
import sys

import pytest

from support.registries import table

#: Rows measured again, spread evenly over all models with attention.
SAMPLE = 40
AGAIN = "run: python docs/make_models_table.py"


def committed(library):
    return [row for row in table.read()["rows"] if row["library"] == library]


def sampled():
    rows = [row for library in table.LIBRARIES for row in committed(library) if row["status"] == "proved"]
    return {(row["library"], row["name"]): row for row in (rows[i * len(rows) // SAMPLE] for i in range(SAMPLE))}


def unlike(found, row):
    """What is not as committed: all but the two measured numbers, which may differ by rounding, and the fingerprint of the code."""
    loose = ("error", "effect", "inputs")
    return {k: (found.get(k), row.get(k)) for k in (found | row) if k not in loose and found.get(k) != row.get(k)}


def test_the_page_is_made_of_the_numbers():
    assert (table.HOME / "models.md").read_text(encoding="utf-8") == table.as_page(table.read())


def test_the_table_is_of_the_installed_libraries():
    assert table.stale(table.read()) == [], AGAIN


def test_a_stale_table_is_noticed():
    one = table.read()
    old, lacking, left = (copy.deepcopy(one) for _ in range(3))
    old["versions"]["timm"] = "0.9.0"
    lacking["rows"] = [row for row in lacking["rows"] if row["name"] != "vit_b_16"]
    left["rows"].append({**left["rows"][0], "name": "RemovedModel"})
    assert table.stale(old) == [f"timm is {table.versions()['timm']}, the table was made with 0.9.0"]
    assert table.stale(lacking) == ["torchvision: vit_b_16 has no row"]
    assert table.stale(left) == ["transformers: RemovedModel is not registered any more"]


def test_a_new_architecture_in_a_library_makes_the_table_stale():
    """In a process of its own, since it registers a model."""
    script = """
import sys
from timm.models import register_model
def brandnew_tiny(pretrained=False, **kwargs): ...
brandnew_tiny.__module__ = "timm.models.brandnew"
sys.modules["timm.models.brandnew"] = type(sys)("timm.models.brandnew")
register_model(brandnew_tiny)
from support.registries import table
print(table.stale(table.read()))
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=table.ROOT / "tests", check=False)
    assert ran.stdout.strip() == "['timm: brandnew_tiny has no row']", ran.stderr


@pytest.mark.parametrize("library", table.LIBRARIES)
def test_nearly_all_attention_is_captured_and_proved(library):
    found = table.counted(committed(library))
    least = 1.0 if library == "torchvision" else 0.95
    assert found["proved"] >= least * found["with attention"] > 0, found
    for row in committed(library):
        assert row["error"] <= 1e-5
        assert row["captured"] == row["counted"] or row["status"] == "refused"
        assert row["why"] or row["status"] in ("proved", "no attention")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("key", sorted(sampled()), ids=":".join)
def test_a_sample_measured_again(key):
    library, name = key
    (row,) = table.rows(library, lambda one: one == name)
    assert not unlike(row, sampled()[key]), (unlike(row, sampled()[key]), AGAIN)
    assert row["error"] <= 1e-5


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("library", table.LIBRARIES)
def test_the_whole_table_measured_again(library):
    found = list(table.rows(library))
    wrong = {row["name"]: unlike(row, old) for row, old in zip(found, committed(library), strict=True) if unlike(row, old)}
    assert not wrong, f"{wrong}; {AGAIN}"
