"""Clouds of points over HTTP: who is answered, what is refused with which status, and that plain reads wait for no model."""

import json
import threading
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

import vitscope as vs
from support.clouds import embedded, folder_of_photos, jpegs
from support.served import Client, Fake, served
from vitscope.api import serve as job
from vitscope.api.cloud import CloudExplorer
from vitscope.api.explorer import Explorer
from vitscope.api.live_cloud import live_cloud
from vitscope.errors import ArgumentError
from vitscope.views.view import block, pack
from vitscope.web.compute import CLOUD_OPS
from vitscope.web.server.settings import Settings


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    return vs.load("builtin:photos")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    root = tmp_path_factory.mktemp("cloud")
    return embedded(folder_of_photos(root / "in"), root / "points.parquet")


@pytest.fixture
def page(file, model):
    models = {"builtin:photos": model}
    with served(CloudExplorer(Explorer([], models), [live_cloud(file, models)])) as (site, port):
        yield site, port


@pytest.fixture
def client(page):
    site, port = page
    return Client(port, site.guard.token)


def test_the_page_s_questions_are_answered(client):
    (cloud,) = client.catalogue()["clouds"]
    assert cloud["count"] == 27
    (points,) = client.blocks("/api/points?cloud=0&map=0")
    assert points.arrays["map/0"].shape == (27, 2)
    (column,) = client.blocks("/api/column?cloud=0&name=label")
    assert column.arrays["column/label"].shape == (27,)
    (table,) = client.blocks("/api/table?cloud=0&rows=1,5&map=0")
    assert [row["id"] for row in table.meta["rows"]] == ["frog/1", "frog/5"]
    (thumbs,) = client.blocks("/api/thumbs?cloud=0&rows=1,5&size=40")
    assert [picture.size for picture in jpegs(thumbs)] == [(40, 33), (40, 33)]
    attentions = client.blocks("/api/attentions?cloud=0&rows=1,5")
    assert [part.arrays["attention"].shape for part in attentions] == [(1, 64), (1, 64)]
    (near,) = client.blocks("/api/nearest?cloud=0&row=1&k=3&layer=5")
    assert len(near.meta["rows"]) == 3


def test_without_access_nothing_is_told(page):
    _, port = page
    stranger = Client(port)
    for op in CLOUD_OPS:
        assert stranger.error("GET", f"/api/{op}?cloud=0&row=0&rows=0&name=label")[0] == 401
        assert Client(port, page[0].guard.token).error("GET", f"/api/{op}?cloud=0&row=0&rows=0", Sec_Fetch_Site="cross-site")[0] == 403
        assert stranger.error("GET", f"/api/{op}", Host="evil.example")[0] == 403


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("points?cloud=7", 400, "cloud 7"),
        ("points?cloud=x", 400, "whole number"),
        ("points?map=9", 400, "map 9"),
        ("points?map=1&map=2", 400, "given twice"),
        ("points?source=0", 400, "argument source"),
        ("column?name=id", 400, "column 'id'"),
        ("column", 400, "no name"),
        ("table?rows=", 400, "no rows"),
        ("table?rows=1,99", 400, "row 99"),
        ("table?rows=1;2", 400, "whole number"),
        ("thumbs?rows=0&size=4000", 400, "32 to 256"),
        ("thumbs?rows=" + ",".join(map(str, range(101))), 400, "at most 100"),
        ("attentions?rows=" + ",".join(map(str, range(25))), 400, "at most 24"),
        ("nearest?row=0&k=100000", 400, "1 to 200"),
        ("nearest?row=0&layer=77", 400, "layer 77"),
        ("open?cloud=0&row=27", 400, "row 27"),
        ("open?cloud=0&row=-1", 400, "from 0 on"),
        ("open?cloud=0", 400, "row"),
        ("open?cloud=0&row=1&path=/etc/passwd", 400, "argument 'path'"),
    ],
)
def test_refusals(client, path, status, said):
    assert client.error("GET", f"/api/{path}")[0] == status
    assert said in client.error("GET", f"/api/{path}")[1]
    assert client.ask("GET", "/api/points?cloud=0&map=0")[0] == 200


def test_each_browser_opens_its_own(page, client):
    site, port = page
    other = Client(port, site.guard.token)
    (first,) = client.blocks("/api/open?cloud=0&row=3")
    assert first.meta["source"] == 0
    assert [source["photo"] for source in first.meta["catalogue"]["sources"]] == ["3.png"]
    assert first.meta["catalogue"]["sources"][0]["picture"] == "api/picture?source=0"
    assert client.blocks("/api/open?cloud=0&row=5")[0].meta["source"] == 1
    assert client.blocks("/api/open?cloud=0&row=3")[0].meta["source"] == 0
    assert other.catalogue()["sources"] == []
    assert other.error("GET", "/api/rows?source=0")[0] == 400
    assert other.blocks("/api/open?cloud=0&row=5")[0].meta["source"] == 0
    assert other.ask("GET", "/api/picture?source=0")[1]["content-type"] == "image/jpeg"
    assert len(client.catalogue()["sources"]) == 2
    assert client.ask("GET", "/api/rows?source=1&query=0,0")[0] == 200


def test_a_page_without_points_says_so():
    compute = Explorer([], {})
    with served(compute) as (site, port):
        client = Client(port, site.guard.token)
        assert client.error("GET", "/api/points?cloud=0")[0] == 400
        assert client.error("GET", "/api/open?cloud=0&row=1") == (
            400,
            "request: row 1 of cloud 0; expected photos: there are no points here",
        )


class Slow(Fake):
    """A model at work until it is let go."""

    def answer(self, op, args, stop=lambda: False):
        if op == "attentions":
            self.begun.set()
            assert self.released.wait(20)
        yield pack(block({}, {"op": op}))

    begun = threading.Event()


def test_plain_reads_do_not_wait_for_a_model():
    fake = Slow()
    with served(fake) as (site, port):
        client = Client(port, site.guard.token)
        asking = threading.Thread(target=lambda: client.ask("GET", "/api/attentions?rows=1"), daemon=True)
        asking.start()
        assert fake.begun.wait(10)
        begun = time.monotonic()
        for op in ("points", "column", "table", "thumbs", "nearest"):
            assert client.blocks(f"/api/{op}?cloud=0&row=0&rows=0")[0].meta["op"] == op
        assert time.monotonic() - begun < 5
        fake.released.set()
        asking.join(10)


# the command


def test_serve_takes_points_and_photos_and_loads_the_model_that_the_file_names(file):
    serving = job.Serving((file.parent / "in/frog/1.png",), (), {}, {}, clouds=(file,))
    explorer = job.explorer_of(serving, Settings(), lambda _: None)
    told = explorer.catalogue(inline=False)
    assert [one["id"] for one in told["models"]] == ["builtin:photos"]
    assert [one["photo"] for one in told["sources"]] == ["1.png"]
    assert told["clouds"][0]["attention"]["how"] == "live"


def test_serve_refuses_a_model_that_did_not_make_the_points(file, tmp_path):
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    meta = dict(table.schema.metadata)
    made = json.loads(meta[b"vitscope"]) | {"weights": "0123456789abcdef"}
    other = tmp_path / "other.parquet"
    pq.write_table(table.replace_schema_metadata({**meta, b"vitscope": json.dumps(made)}), other)
    with pytest.raises(ArgumentError, match=r"has weights [0-9a-f]{16}; expected 0123456789abcdef") as raised:
        job.explorer_of(job.Serving((), (), {}, {}, clouds=(other,)), Settings(), lambda _: None)
    assert "other.parquet" in str(raised.value)


def test_serve_says_what_is_wrong_with_a_file(tmp_path):
    with pytest.raises(ArgumentError, match="no such file"):
        job.explorer_of(job.Serving((), (), {}, {}, clouds=(Path(tmp_path / "none.parquet"),)), Settings(), lambda _: None)
    with pytest.raises(ArgumentError, match="--photos with 0 files of points"):
        job.explorer_of(job.Serving((), (), {}, {}, cloud_photos=tmp_path), Settings(), lambda _: None)
