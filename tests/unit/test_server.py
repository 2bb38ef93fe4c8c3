"""The local page: whom it answers, what it refuses with which status, and that it is alive afterwards; over a fake ``compute``."""

import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

pytest.importorskip("starlette", reason="starlette is not installed")
pytest.importorskip("uvicorn", reason="uvicorn is not installed")

from support.served import PNG_1PX, Client, Fake, served
from vitscope.api import serve as job
from vitscope.errors import ArgumentError, MissingExtra
from vitscope.web.server import files, run
from vitscope.web.server.guard import POLICY
from vitscope.web.server.lanes import Lane
from vitscope.web.server.refusal import Refusal
from vitscope.web.server.settings import Settings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def fake():
    return Fake(given=2)


@pytest.fixture
def page(fake):
    with served(fake) as (site, port):
        yield site, port


@pytest.fixture
def client(page):
    site, port = page
    return Client(port, site.guard.token)


def alive(client):
    status, _, _ = client.ask("GET", "/api/rows?source=0&query=0,0")
    assert status == 200


def png_header(width, height):
    """A PNG that says its size and holds almost nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


# who is let in


def test_the_token_opens_once_and_leaves_the_address(page):
    site, port = page
    status, headers, body = Client(port).ask("GET", f"/?token={site.guard.token}")
    assert (status, headers["location"], body) == (303, "./", b"")
    cookie = headers["set-cookie"]
    assert cookie.startswith(f"vitscope-{port}=")
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert "path" not in cookie.lower()  # the folder the browser sees, also behind a proxy
    assert site.guard.token not in cookie


def test_a_browser_from_another_site_goes_on_by_a_page_of_ours(page):
    site, port = page
    status, headers, body = Client(port).ask("GET", f"/?token={site.guard.token}", Sec_Fetch_Site="cross-site")
    assert status == 200
    assert b'http-equiv="refresh" content="0;url=./"' in body
    assert "set-cookie" in headers


def test_the_ticket_handed_to_a_browser_opens_once(page):
    site, port = page
    ticket = site.guard.ticket
    assert Client(port).ask("GET", f"/?token={ticket}")[0] == 303
    assert Client(port).error("GET", f"/?token={ticket}")[0] == 403
    assert Client(port).error("GET", "/?token=")[0] == 403


def test_without_token_or_cookie_nothing_is_told(page, client):
    _, port = page
    stranger = Client(port)
    for path in ("/", "/api/catalogue", "/api/rows?source=0", "/api/picture", "/static/view.js", "/nothing"):
        status, reason = stranger.error("GET", path)
        assert status == 401
        assert "printed" in reason
    assert stranger.error("POST", "/api/upload?name=a.png", PNG_1PX)[0] == 401
    status, reason = stranger.error("GET", "/?token=wrong")
    assert status == 403
    assert "wrong token" in reason
    assert stranger.error("GET", "/?token=%FF%00%C3%A9")[0] == 403
    stranger.cookie = f"vitscope-{port}=guessed"
    assert stranger.error("GET", "/api/catalogue")[0] == 401
    alive(client)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "localhost@evil.example", "", "[::1", "10.0.0.1"])
def test_a_foreign_host_is_refused(client, host):
    status, reason = client.error("GET", "/api/catalogue", Host=host)
    assert status == 403
    assert "--allow-host" in reason
    alive(client)


def test_this_machine_is_known_by_its_names_and_any_port(client):
    for host in ("localhost:9999", "127.0.0.1", "[::1]:80", "LOCALHOST"):
        assert client.ask("GET", "/api/catalogue", Host=host)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "http://127.0.0.1:1", "file://", "http://["])
def test_a_foreign_origin_is_refused(client, origin):
    for method, path, body in (("POST", "/api/upload?name=a.png&model=m", PNG_1PX), ("GET", "/api/catalogue", None)):
        status, reason = client.error(method, path, body, Origin=origin)
        assert status == 403
        assert "Origin" in reason
    alive(client)


def test_a_post_owes_an_origin(client):
    assert client.error("POST", "/api/upload?name=a.png", PNG_1PX, Origin=None)[0] == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_another_page_embeds_is_refused(client, site):
    assert client.error("GET", "/api/picture?source=0", Sec_Fetch_Site=site)[0] == 403


def test_a_proxy_is_allowed_by_name(fake):
    with served(fake, allow=("hub.example",)) as (site, port):
        client = Client(port, site.guard.token)
        for host in ("hub.example", f"localhost:{port}"):
            answer = client.ask("POST", "/api/upload?name=a.png", PNG_1PX, Host=host, Origin="https://hub.example")
            assert answer[0] == 200
        assert client.error("POST", "/api/upload", PNG_1PX, Host="other.example", Origin="https://other.example")[0] == 403


def test_every_answer_carries_the_headers(page, client):
    _, port = page
    for who, path in ((client, "/"), (client, "/api/catalogue"), (client, "/no"), (Client(port), "/"), (client, "/static/no.js")):
        _, headers, _ = who.ask("GET", path)
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == ("no-cache" if "static" in path else "no-store")
        assert not [name for name in headers if name.startswith("access-control")]
        assert "server" not in headers
    assert "'unsafe" not in POLICY


def test_the_page_addresses_nothing_absolutely(client):
    _, _, body = client.ask("GET", "/")
    text = body.decode()
    assert 'href="/' not in text
    assert 'src="/' not in text
    assert "http://" not in text


def test_an_unbuilt_page_says_how_to_build_it(client, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("vitscope.web.built.STATIC", tmp_path)
    _, _, body = client.ask("GET", "/")
    assert b"was not built" in body
    run.say(Settings(), 1234, "t")
    assert "was not built" in capsys.readouterr().out


# what is asked


def test_rows_come_as_a_stream_of_one(client, fake):
    (block,) = client.blocks("/api/rows?source=1&query=3,4")
    assert block.meta == {"query": "3,4", "source": 1}
    assert fake.asked == [("rows", {"source": 1, "query": "3,4"})]


def test_a_progressive_map_comes_part_by_part(page, client):
    _, port = page
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    started = time.monotonic()
    connection.request("GET", "/api/map?source=0&parts=4&seconds=0.3", headers={"Cookie": client.cookie})
    answer = connection.getresponse()
    assert answer.getheader("content-type") == "application/octet-stream"
    times = []
    for _ in range(4):
        (length,) = struct.unpack("<I", answer.read(4))
        assert len(answer.read(length)) == length
        times.append(time.monotonic() - started)
    assert answer.read() == b""
    assert times[0] < 0.3 * 4 - 0.3, "the first part waited for the last"
    assert times[3] - times[0] > 0.5


def test_an_error_on_the_way_is_the_last_block(client):
    first, last = client.blocks("/api/map?source=0&parts=3&fails=1")
    assert first.meta["source"] == 0
    assert last.meta == {"error": "failed on the way"}


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/api/nonsense", 404, "no such address"),
        ("GET", "/nothing", 404, "no such address"),
        ("POST", "/api/rows?source=0", 405, "not answered"),
        ("GET", "/api/upload", 405, "not answered"),
        ("DELETE", "/api/rows", 403, "no Origin"),
        ("GET", "/api/rows?source=2", 400, "0 to 1"),
        ("GET", "/api/rows?source=-1", 400, "0 to 1"),
        ("GET", "/api/rows?source=1e3", 400, "0 to 1"),
        ("GET", "/api/rows?source=99999999999999999999", 400, "0 to 1"),
        ("GET", "/api/rows?source=%D9%A1", 400, "0 to 1"),
        ("GET", "/api/rows?source=0&nonsense=1", 400, "unknown argument"),
        ("GET", "/api/rows?source=0&source=1", 400, "twice"),
        ("GET", "/api/map?source=0&method=undefined", 422, "undefined for this model"),
        ("GET", "/api/map?source=0&method=bug", 500, "ZeroDivisionError"),
        ("GET", "/api/picture?source=7", 400, "0 to 1"),
        ("GET", "/api/picture?path=/etc/passwd", 400, "argument 'path'"),
    ],
)
def test_wrong_questions_get_a_status_and_a_reason(client, method, path, status, words):
    got, reason = client.error(method, path)
    assert (got, words in reason) == (status, True), reason
    alive(client)


def test_a_browser_sees_its_own_photos_only(page, fake):
    site, port = page
    one, two = (Client(port, site.guard.token) for _ in range(2))
    taken = one.post("/api/upload?name=mine.png&model=m", PNG_1PX)
    assert taken["source"] == 2
    assert [s["photo"] for s in taken["catalogue"]["sources"]] == ["given-0", "given-1", "mine.png"]
    assert [s["photo"] for s in two.catalogue()["sources"]] == ["given-0", "given-1"]
    for path in ("/api/rows?source=2", "/api/picture?source=2", "/api/map?source=2", "/api/links?source=2"):
        assert two.error("GET", path)[0] == 400
    assert two.post("/api/upload?name=other.png", PNG_1PX)["source"] == 2  # its own number, though it is the fourth of all
    assert two.blocks("/api/rows?source=2")[0].meta["source"] == 3
    assert two.ask("GET", "/api/picture?source=2")[2] == b"picture 3"
    assert [s["picture"] for s in two.catalogue()["sources"]][2] == "api/picture?source=2"


def test_the_catalogue_states_the_limits(fake):
    with served(fake, upload_bytes=1000, pixels=2000, cache_bytes=3000) as (site, port):
        limits = Client(port, site.guard.token).catalogue()["capabilities"]["limits"]
    assert limits == {"upload_bytes": 1000, "pixels": 2000, "cache_bytes": 3000}


# what comes in


def test_upload_refusals(client):
    assert client.error("POST", "/api/upload?name=a.png", b"")[0] == 400
    status, reason = client.error("POST", "/api/upload?name=a.png", b"this is text")
    assert (status, "text" in reason) == (415, True)
    assert client.error("POST", "/api/upload?name=a.png&model=none", PNG_1PX)[0] == 400
    assert client.error("POST", "/api/upload?name=a.png&path=/etc/passwd", PNG_1PX)[0] == 400
    alive(client)


def test_a_picture_of_too_many_pixels_is_refused_from_its_header(client):
    status, reason = client.error("POST", "/api/upload?name=bomb.png&model=m", png_header(60_000, 60_000))
    assert status == 413
    assert "60000×60000 px" in reason
    alive(client)


def peak_memory():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1000
    return 0.0


@pytest.mark.parametrize("says_length", [True, False])
def test_a_gigabyte_is_refused_early_and_never_held(page, client, says_length):
    """In this process: sender and server together may not grow by more than the limit (64 MB) and a little."""
    _, port = page
    whole, piece = 1_000_000_000, bytes(1 << 20)
    before, sent, largest = peak_memory(), 0, 0.0
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        length = f"Content-Length: {whole}" if says_length else "Transfer-Encoding: chunked"
        connection.sendall(
            f"POST /api/upload?name=a.png HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\n"
            f"Cookie: {client.cookie}\r\n{length}\r\n\r\n".encode()
        )
        answer = b""
        connection.settimeout(0.001)
        while sent < whole and not answer:
            try:
                connection.settimeout(20)
                connection.sendall(piece if says_length else b"100000\r\n" + piece + b"\r\n")
                sent += len(piece)
                largest = max(largest, peak_memory())
                connection.settimeout(0.001)
                answer = connection.recv(65536)
            except TimeoutError:
                continue
            except ConnectionError:
                break
        connection.settimeout(20)
        while answer and b"}" not in answer:  # head and body may come apart
            answer += connection.recv(65536) or b"}"
    assert answer.startswith(b"HTTP/1.1 413"), answer[:200]
    assert b"--upload-mb" in answer
    assert sent < 300_000_000
    assert largest - before < 64 + 40, f"grew by {largest - before:.0f} MB"
    alive(client)


def test_half_a_request_is_let_go(fake, monkeypatch):
    monkeypatch.setattr(run, "HEAD_SECONDS", 0.3)
    with served(fake) as (site, port):
        client = Client(port, site.guard.token)
        for words in (b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: loc"):
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(words)
                assert connection.recv(4096).startswith(b"HTTP/1.1 408")
                assert connection.recv(4096) == b""
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:  # a byte now and then does not help
            started = time.monotonic()
            with suppress(OSError):  # reset or broken pipe, as the system likes
                for letter in b"GET /" + b"a" * 100:
                    connection.sendall(bytes([letter]))
                    time.sleep(0.05)
            assert time.monotonic() - started < 3
        alive(client)


def test_half_an_upload_frees_its_slot(page, client, monkeypatch):
    _, port = page
    monkeypatch.setattr(files.body_of, "__defaults__", (0.3,))
    sockets = []
    for _ in range(6):  # more than there are slots
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        connection.sendall(
            f"POST /api/upload?name=a.png HTTP/1.1\r\nHost: localhost:{port}\r\nOrigin: http://localhost:{port}\r\n"
            f"Cookie: {client.cookie}\r\nContent-Length: 1000\r\n\r\nhalf".encode()
        )
        sockets.append(connection)
    for connection in sockets:
        assert connection.recv(4096).startswith(b"HTTP/1.1 408")
        connection.close()
    assert client.ask("POST", "/api/upload?name=a.png", PNG_1PX)[0] == 200


@pytest.fixture
def roots(tmp_path):
    top, outside = tmp_path / "photos", tmp_path / "secret"
    (top / "deep").mkdir(parents=True)
    outside.mkdir()
    for path in (top / "a.png", top / "deep" / "b.png", outside / "c.png"):
        path.write_bytes(PNG_1PX)
    (top / "link.png").symlink_to(outside / "c.png")
    (top / "linked").symlink_to(outside)
    (top / "inside.png").symlink_to(top / "a.png")
    return top


def test_files_below_a_root(fake, roots):
    with served(fake, roots=(roots,)) as (site, port):
        client = Client(port, site.guard.token)
        offered = json.loads(client.ask("GET", "/api/files")[2])["files"]
        assert {entry["path"] for entry in offered} == {"a.png", "deep/b.png", "inside.png", "link.png"}
        for path in ("a.png", "deep/b.png", "inside.png", "deep/../a.png"):
            assert client.post(f"/api/open?root=0&path={path}&model=m")["source"] >= 2
        outside = ["../secret/c.png", "link.png", "linked/c.png", "/etc/passwd", str(roots.parent / "secret/c.png"), "..%2Fsecret%2Fc.png"]
        for path in [*outside, "%2e%2e/secret/c.png", "a.png%00.png", "", ".", "deep", "no.png", "a" * 5000]:
            assert client.error("POST", f"/api/open?root=0&path={path}", b"")[0] == 404, path
        assert client.error("POST", "/api/open?root=1&path=a.png", b"")[0] == 404
        assert client.error("POST", "/api/open?root=-1&path=a.png", b"")[0] == 404
        alive(client)


@pytest.mark.parametrize(
    "path", ["/static/../server/run.py", "/static/%2e%2e/server/run.py", "/static/..%2fserver/run.py", "/static//etc/passwd"]
)
def test_static_files_stay_in_their_folder(client, path):
    assert client.error("GET", path)[0] == 404
    alive(client)


def test_without_a_root_no_file_is_opened(client):
    status, reason = client.error("POST", "/api/open?root=0&path=etc/passwd", b"")
    assert (status, "--root" in reason) == (404, True)


@pytest.mark.parametrize(
    "noise", [b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/9.9\r\n\r\n", b"\r\n" * 50, b"A" * 100_000, b"GET /\0 HTTP/1.1\r\n\r\n"]
)
def test_noise_is_refused_and_the_server_lives(page, client, noise):
    _, port = page
    with socket.create_connection(("127.0.0.1", port), timeout=15) as connection:
        connection.sendall(noise)
        connection.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            assert connection.recv(100)[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 403", b"HTTP/1.1 408")
    alive(client)


# fairness and leaving


def test_a_slow_job_does_not_hold_up_rows(page, client, fake):
    site, port = page
    other = Client(port, site.guard.token)
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(client.blocks, "/api/map?source=0&seconds=1.5")
        time.sleep(0.2)
        started = time.monotonic()
        for query in range(20):
            other.blocks(f"/api/rows?source=0&query={query}")
        client.blocks("/api/rows?source=0")
        assert time.monotonic() - started < 1.0
        assert not slow.done()
        slow.result()
    assert fake.threads["map"] != fake.threads["rows"]


def test_one_visitor_with_many_jobs_does_not_keep_another_out(page, client):
    site, port = page
    other = Client(port, site.guard.token)
    with ThreadPoolExecutor(20) as pool:
        many = [pool.submit(client.blocks, f"/api/map?source=0&seconds=0.2&query={i}") for i in range(12)]
        time.sleep(0.3)
        other.blocks("/api/map?source=0&seconds=0.2&query=other")
        unfinished = sum(not job.done() for job in many)
        assert unfinished >= 7, f"only {unfinished} of 12 were still waiting"
        for job in many:
            job.result()


def test_a_long_answer_shares_the_lane_part_by_part(page, client):
    site, port = page
    other = Client(port, site.guard.token)
    with ThreadPoolExecutor() as pool:
        long = pool.submit(client.blocks, "/api/map?source=0&parts=20&seconds=0.1")
        time.sleep(0.25)
        started = time.monotonic()
        other.blocks("/api/map?source=0&query=short")
        assert time.monotonic() - started < 0.8
        assert not long.done()
        assert len(long.result()) == 20


def test_turns_go_round():
    lane, order = Lane("test"), []
    gate = lane.put("x", lambda: time.sleep(0.1))
    tasks = [lane.put("a", lambda i=i: order.append(f"a{i}")) for i in range(3)]
    tasks += [lane.put("b", lambda: order.append("b0")), lane.put("c", lambda: order.append("c0"))]
    tasks[1].cancel()
    gate.result(5)
    for task in (tasks[0], *tasks[2:]):
        task.result(5)
    assert order == ["a0", "b0", "c0", "a2"]
    assert lane.close(1)
    with pytest.raises(Refusal, match="stopping"):
        lane.put("a", lambda: None)


def test_too_many_waiting_are_refused():
    lane = Lane("test")
    gate = lane.put("x", lambda: time.sleep(0.2))
    tasks = [lane.put("a", lambda: None) for _ in range(64)]
    with pytest.raises(Refusal, match="64 requests"):
        lane.put("a", lambda: None)
    lane.put("b", lambda: None).result(5)
    gate.result(5)
    tasks[-1].result(5)
    lane.close(1)


def leave_midway(port, cookie, path):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\nCookie: {cookie}\r\n\r\n".encode())
        time.sleep(0.3)


def until(condition, seconds=3):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return condition()


def test_who_leaves_stops_the_work(page, client, fake):
    _, port = page
    leave_midway(port, client.cookie, "/api/map?source=0&seconds=30&query=first")
    assert until(lambda: fake.stopped == ["first"])
    leave_midway(port, client.cookie, "/api/map?source=0&parts=1000&seconds=0.1&query=streamed")
    assert until(lambda: "streamed" in fake.closed)
    started = time.monotonic()
    client.blocks("/api/map?source=0")
    assert time.monotonic() - started < 1


def test_who_leaves_while_waiting_is_never_worked_for(page, client, fake):
    _, port = page
    with ThreadPoolExecutor() as pool:
        job = pool.submit(client.blocks, "/api/map?source=0&seconds=1&query=slow")
        time.sleep(0.1)
        leave_midway(port, client.cookie, "/api/map?source=0&query=waiting")
        job.result()
    client.blocks("/api/map?source=0&query=last")
    assert [args["query"] for op, args in fake.asked] == ["slow", "last"]


# the address, and the end


def test_addresses_that_would_not_be_safe_are_refused():
    with pytest.raises(ArgumentError, match="--allow-host NAME"):
        Settings(host="0.0.0.0").check()
    with pytest.raises(ArgumentError, match="one host name"):
        Settings(allow=("http://hub.example",)).check()
    with pytest.raises(ArgumentError, match="no folder"):
        Settings(roots=(Path("/no/such/folder"),)).check()
    with pytest.raises(ArgumentError, match="cannot listen"):
        run.listening(Settings(host="203.0.113.7"))
    with run.listening(Settings()) as sock, pytest.raises(ArgumentError, match="cannot listen"):
        run.listening(Settings(port=sock.getsockname()[1]))


def test_small_answers_do_not_wait_for_each_other():
    with run.listening(Settings()) as sock:
        assert sock.proto == socket.IPPROTO_TCP  # what asyncio looks at before it sets TCP_NODELAY


def test_a_missing_library_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    for name in [name for name in sys.modules if name.startswith("vitscope.web.server")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("vitscope.web.server")
    with pytest.raises(MissingExtra, match=r"uvicorn is not installed.*vitscope\[serve\]"):
        job.run(job.Serving((), ("builtin:photos",), {}, {}))


def test_one_checkpoint_for_two_models_is_refused():
    with pytest.raises(ArgumentError, match="--weights for 2 models"):
        job.explorer_of(job.Serving((), ("a", "b"), {"weights": Path("w")}, {}), Settings(), print)
    with pytest.raises(ArgumentError, match="twice"):
        job.explorer_of(job.Serving((), ("a", "a"), {}, {}), Settings(), print)


def test_the_console_says_who_can_reach_it(capsys):
    run.say(Settings(cache_bytes=300_000_000), 1234, "secret")
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "http://127.0.0.1:1234/?token=secret"
    assert "Cache limit: 300 MB" in second
    run.say(Settings(host="0.0.0.0", allow=("gpu.example",)), 1234, "secret")
    out = capsys.readouterr().out
    assert out.startswith("http://gpu.example:1234/?token=secret\n")
    assert "from the network" in out
    assert "not encrypted" in out
    run.say(Settings(host="::1"), 1234, "secret")
    assert capsys.readouterr().out.startswith("http://[::1]:1234/")


SCRIPT = """
import sys
sys.path.insert(0, {tests!r})
from support.served import Fake
import time
class Stubborn(Fake):
    def answer(self, op, args, stop=None):
        sys.stdout.write("working\\n"); sys.stdout.flush()
        time.sleep(float(args.get("seconds", 0)))   # looks at nothing, as a pass through a model does
        yield b""
import vitscope.api.serve as job
from vitscope.cli import main
import vitscope.web.server as server
job.explorer_of = lambda *_: Stubborn()
main(["serve"])
"""


def unanswered(client, path):
    with suppress(OSError, http.client.HTTPException):
        client.ask("GET", path)


@pytest.mark.parametrize("busy", [False, True])
def test_ctrl_c_ends_in_one_line(busy):
    code = SCRIPT.format(tests=str(ROOT / "tests"))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    try:
        address = process.stdout.readline().strip()
        port, token = int(address.split(":")[2].split("/")[0]), address.split("token=")[1]
        client = Client(port, token)
        process.stdout.readline()
        if busy:
            Thread(target=unanswered, args=(client, "/api/map?source=0&seconds=60"), daemon=True).start()
            while "working" not in process.stdout.readline():
                pass
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)
        assert time.monotonic() - started < 2
        assert process.returncode == 130
        assert err == "vitscope: stopped; nothing half-written was left\n"
    finally:
        process.kill()
