"""The download of MNIST and its sister sets, from servers that misbehave in every way that one knows."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

pytest.importorskip("urllib3")
pytest.importorskip("filelock")
pytest.importorskip("platformdirs")

from gradsheet.errors import GradsheetError, InputError
from gradsheet.mnist.download import (
    SOURCES,
    DownloadError,
    RemoteFile,
    Source,
    data_folder,
    download_mnist,
)
from gradsheet.mnist.sources import FILES, Digits, read_folder

# ---------------------------------------------------------------- a small set to fetch


def idx(array: np.ndarray) -> bytes:
    lengths = b"".join(n.to_bytes(4, "big") for n in array.shape)
    return bytes([0, 0, 8, array.ndim]) + lengths + array.tobytes()


def small_set(seed: int) -> dict[str, bytes]:
    """Plain idx files by name; the training images are noise of 235 kB, several chunks on the wire."""
    random = np.random.default_rng(seed)
    return {
        "train-images-idx3-ubyte": idx(random.integers(256, size=(300, 28, 28), dtype=np.uint8)),
        "train-labels-idx1-ubyte": idx(random.integers(10, size=300, dtype=np.uint8)),
        "t10k-images-idx3-ubyte": idx(random.integers(256, size=(20, 28, 28), dtype=np.uint8)),
        "t10k-labels-idx1-ubyte": idx(random.integers(10, size=20, dtype=np.uint8)),
    }


def zipped(plain: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(data, mtime=0) for name, data in plain.items()}


PLAIN = small_set(seed=0)
ZIPPED = zipped(PLAIN)
IMAGES = "train-images-idx3-ubyte.gz"
SIZE = len(ZIPPED[IMAGES])
WHOLE = [(name, None) for name in ZIPPED]
"""What a server is asked for by a download without trouble: each file once, whole."""


def source(mirrors: list[str], torchvision: str, plain_sums: bool) -> Source:
    def remote(name: str) -> RemoteFile:
        data, plain = ZIPPED[name], PLAIN[name.removesuffix(".gz")]
        plain_sum = hashlib.sha256(plain).hexdigest() if plain_sums else None
        return RemoteFile(name, len(data), hashlib.sha256(data).hexdigest(), plain_sum)

    return Source(tuple(mirrors), tuple(map(remote, ZIPPED)), torchvision)


# ---------------------------------------------------------------- a server that misbehaves


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        _, mirror, name = urlsplit(self.path).path.split("/")
        with self.server.lock:
            self.server.asked.append((mirror, name, self.headers["Range"]))
            plan = self.server.plans.get(mirror, [])
            behave = plan.pop(0) if plan else honest
        behave(self, ZIPPED[name])

    def start(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), str(value))
        self.end_headers()


class Server(ThreadingHTTPServer):
    """Answers ``/<mirror>/<file>``: as the mirror's plan says, request by request, then honestly."""

    daemon_threads = True

    def handle_error(self, request, client_address):
        """Say nothing: that a client hangs up is what many tests want."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.closing = threading.Event()
        self.hung_up = threading.Event()  # by a client that had enough of an endless body
        self.plans: dict[str, list[Behaviour]] = {}
        self.asked: list[tuple[str, str, str | None]] = []

    def mirror(self, name: str, *plan: Behaviour) -> str:
        self.plans[name] = list(plan)
        return f"http://127.0.0.1:{self.server_port}/{name}/"

    def ranges(self, mirror: str, name: str = IMAGES) -> list[str | None]:
        """The Range of every request for a file to a mirror."""
        return [wanted for asked, file, wanted in self.asked if (asked, file) == (mirror, name)]


Behaviour = Callable[[Handler, bytes], None]


def honest(handler: Handler, data: bytes) -> None:
    start = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
    if start >= len(data):
        handler.start(416, Content_Length=0)
    elif start:
        rest = f"bytes {start}-{len(data) - 1}/{len(data)}"
        handler.start(206, Content_Length=len(data) - start, Content_Range=rest)
    else:
        handler.start(Content_Length=len(data))
    handler.wfile.write(data[start:])


def without_ranges(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=len(data))
    handler.wfile.write(data)


def range_refused(handler: Handler, data: bytes) -> None:
    handler.start(416, Content_Length=0)


def other_range(handler: Handler, data: bytes) -> None:
    handler.start(206, Content_Length=len(data), Content_Range=f"bytes 0-{len(data) - 1}/{len(data)}")
    handler.wfile.write(data)


def as_encoding(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=len(data), Content_Encoding="gzip")
    handler.wfile.write(data)


def unannounced(handler: Handler, data: bytes) -> None:
    handler.start()
    handler.wfile.write(data)


def status(code: int) -> Behaviour:
    return lambda handler, data: handler.start(code, Content_Length=0)


def busy_for_long(handler: Handler, data: bytes) -> None:
    handler.start(503, Content_Length=0, Retry_After=4)


def silent(handler: Handler, data: bytes) -> None:
    handler.server.closing.wait(5)


def silent_after_half(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=len(data))
    handler.wfile.write(data[: len(data) // 2])
    handler.server.closing.wait(5)


def broken_off(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=len(data))
    handler.wfile.write(data[: len(data) // 2])


def shorter(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=len(data) // 2)
    handler.wfile.write(data[: len(data) // 2])


def longer(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=2 * len(data))
    handler.wfile.write(2 * data)


def shorter_unannounced(handler: Handler, data: bytes) -> None:
    handler.start()
    handler.wfile.write(data[: len(data) // 2])


def altered(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=len(data))
    handler.wfile.write(data[:-1] + bytes([data[-1] ^ 1]))


def altered_and_broken_off(handler: Handler, data: bytes) -> None:
    handler.start(Content_Length=len(data))
    handler.wfile.write(bytes(len(data) // 2))


def page(handler: Handler, data: bytes) -> None:
    text = b"<!DOCTYPE html><title>Sorry</title>"
    handler.start(Content_Type="text/html; charset=utf-8", Content_Length=len(text))
    handler.wfile.write(text)


def endless(handler: Handler, data: bytes) -> None:
    handler.start()
    try:
        for _ in range(1_000):  # 64 MB: the test server's own bound
            handler.wfile.write(bytes(64 * 1024))
    except OSError:
        handler.server.hung_up.set()


def slow(handler: Handler, data: bytes) -> None:
    time.sleep(0.15)
    honest(handler, data)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    """No proxy between these tests and their server, no data folder but their own."""
    for variable in list(os.environ):
        if variable.lower().endswith("_proxy") or variable == "GRADSHEET_DATA_DIR":
            monkeypatch.delenv(variable)


def fetch(root: Path | None, *mirrors: str, plain_sums: bool = False, **options) -> Path:
    """Download the small set, impatiently and silently."""
    sources = {"mnist": source(list(mirrors), "MNIST", plain_sums)}
    return download_mnist(
        root, **{"sources": sources, "timeout": 10, "retries": 0, "progress": False, **options}
    )


def check(folder: Path) -> None:
    """The folder holds the four right files, readable, and nothing else."""
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == ZIPPED
    digits = read_folder(folder)
    for role, name in FILES.items():
        assert idx(getattr(digits, role)) == PLAIN[name]


def left_behind(root: Path) -> list[str]:
    """All files below a folder but the lock, which may stay."""
    return sorted(path.name for path in root.rglob("*") if path.is_file() and path.suffix != ".lock")


# ---------------------------------------------------------------- without trouble


def test_a_set_is_fetched_file_by_file_and_can_be_read(server, tmp_path):
    folder = fetch(tmp_path / "new", server.mirror("a"))
    assert folder == tmp_path / "new" / "mnist"
    assert isinstance(read_folder(folder), Digits)
    check(folder)
    assert [(name, wanted) for _, name, wanted in server.asked] == WHOLE


def test_what_is_there_and_right_is_not_fetched_again(server, tmp_path):
    mirror = server.mirror("a")
    folder = fetch(tmp_path, mirror)
    server.asked.clear()
    assert fetch(tmp_path, mirror) == folder
    assert server.asked == []


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"?"])
def test_only_the_file_that_is_damaged_is_fetched_again(server, tmp_path, damage):
    mirror = server.mirror("a")
    folder = fetch(tmp_path, mirror)
    server.asked.clear()
    (folder / IMAGES).write_bytes(damage(ZIPPED[IMAGES]))
    check(fetch(tmp_path, mirror))
    assert [name for _, name, _ in server.asked] == [IMAGES]


def test_a_mirror_may_be_written_without_its_last_slash(server, tmp_path):
    check(fetch(tmp_path, server.mirror("a").rstrip("/")))


@pytest.mark.parametrize("behaviour", [as_encoding, unannounced])
def test_the_file_arrives_as_it_is_whatever_the_server_says_of_it(server, tmp_path, behaviour):
    check(fetch(tmp_path, server.mirror("a", behaviour)))
    assert server.ranges("a") == [None]


def test_mirrors_that_are_given_replace_those_of_the_set(server, tmp_path):
    check(fetch(tmp_path, server.mirror("own"), mirrors=[server.mirror("given")]))
    assert {mirror for mirror, _, _ in server.asked} == {"given"}


def test_the_root_is_the_environments_folder_else_the_users_cache(server, tmp_path, monkeypatch):
    assert data_folder().name == "gradsheet"
    monkeypatch.setenv("GRADSHEET_DATA_DIR", str(tmp_path / "data"))
    assert fetch(None, server.mirror("a")) == tmp_path / "data" / "mnist"
    check(tmp_path / "data" / "mnist")


def test_the_systems_proxy_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", server.mirror("").rstrip("/"))
    check(fetch(tmp_path, "http://mirror.invalid/far/"))
    assert {mirror for mirror, _, _ in server.asked} == {"far"}


def test_a_host_that_needs_no_proxy_is_asked_itself(server, tmp_path, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    check(fetch(tmp_path, server.mirror("a")))


def test_progress_is_shown_unless_it_is_not_wanted(server, tmp_path, capsys):
    fetch(tmp_path / "silent", server.mirror("a"))
    assert capsys.readouterr().err == ""
    fetch(tmp_path / "shown", server.mirror("a"), progress=True)
    assert IMAGES in capsys.readouterr().err


def test_no_torch_is_loaded(server, tmp_path):
    small = source([server.mirror("a")], "MNIST", plain_sums=False)
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from gradsheet.mnist.download import RemoteFile, Source, download_mnist\n"
        "from gradsheet.mnist.sources import read_folder\n"
        f"read_folder(download_mnist(Path({str(tmp_path)!r}), sources={{'mnist': {small!r}}}))\n"
        "assert 'torch' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    check(tmp_path / "mnist")


# ---------------------------------------------------------------- mirrors that fail

FAILURES = [
    (status(403), "answers 403 Forbidden"),
    (status(404), "answers 404 Not Found"),
    (status(503), "answers 503 Service Unavailable"),
    (silent, r"gives no answer within 0.4 s"),
    (silent_after_half, r"gives no answer within 0.4 s"),
    (broken_off, "breaks the connection off"),
    (shorter, f"sends {SIZE // 2:,} bytes, not {SIZE:,}"),
    (shorter_unannounced, f"sends {SIZE // 2:,} bytes, not {SIZE:,}"),
    (longer, f"sends {2 * SIZE:,} bytes, not {SIZE:,}"),
    (altered, r"sends another file \(its SHA-256 is [0-9a-f]{12}…, not [0-9a-f]{12}…\)"),
    (page, "sends a web page, not the file"),
    (endless, f"sends more than {SIZE:,} bytes"),
]
INTERRUPTED = (silent_after_half, broken_off)
"""Of these, the first half stays, to go on with."""


def timeout(failure: Behaviour) -> float:
    """Short where the test waits for it, long where a busy machine must not reach it."""
    return 0.4 if failure in (silent, silent_after_half) else 10


@pytest.mark.parametrize(("failure", "reason"), FAILURES)
def test_a_failing_mirror_is_named_with_its_reason(server, tmp_path, failure, reason):
    mirror = server.mirror("a", failure)
    with pytest.raises(DownloadError, match=f"mnist: no mirror gave {IMAGES}: {mirror} {reason}; try"):
        fetch(tmp_path, mirror, timeout=timeout(failure))
    assert left_behind(tmp_path) == ([f"{IMAGES}.part"] if failure in INTERRUPTED else [])
    assert len(server.asked) == 1


@pytest.mark.parametrize("failure", [failure for failure, _ in FAILURES])
def test_the_next_mirror_is_asked_and_nothing_is_left_of_the_first(server, tmp_path, failure):
    mirrors = [server.mirror("a", failure), server.mirror("b")]
    check(fetch(tmp_path, *mirrors, timeout=timeout(failure)))
    [resumed] = server.ranges("b")
    assert (resumed is not None) == (failure in INTERRUPTED)


def test_the_error_lists_every_mirror_and_says_how_to_mend(server, tmp_path):
    mirrors = [server.mirror("a", status(403)), "http://127.0.0.1:9/", server.mirror("b", page)]
    with pytest.raises(GradsheetError) as caught:
        fetch(tmp_path, *mirrors)
    assert str(caught.value) == (
        f"mnist: no mirror gave {IMAGES}: {mirrors[0]} answers 403 Forbidden; {mirrors[1]} accepts no "
        f"connection; {mirrors[2]} sends a web page, not the file; try again later, give another "
        f"mirror, or put the files into {tmp_path / 'mnist'} (the copy in the package needs no network)"
    )
    assert caught.value.exit_code == 1


def test_a_host_without_address_is_named(tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(DownloadError, match=r"http://far\.invalid/ is not found, perhaps because"):
        fetch(tmp_path, "http://far.invalid/")


@pytest.mark.parametrize("mirror", ["no address", "ftp://127.0.0.1/", "http://", "http://[/"])
def test_a_mirror_that_is_no_web_address_is_named_like_any_that_fails(tmp_path, mirror):
    with pytest.raises(
        DownloadError, match=f"gave {IMAGES}: {re.escape(mirror)} [A-Z]"
    ):  # urllib3 says why
        fetch(tmp_path, mirror)


def test_files_that_came_before_the_failure_stay(server, tmp_path):
    mirror = server.mirror("a", honest, honest, status(403))
    with pytest.raises(DownloadError, match="t10k-images"):
        fetch(tmp_path, mirror)
    server.asked.clear()
    check(fetch(tmp_path, mirror))
    assert [name for _, name, _ in server.asked] == [
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    ]


# ---------------------------------------------------------------- asking again, going on


@pytest.mark.parametrize("failure", [status(503), status(429), silent])
def test_a_server_in_passing_trouble_is_asked_again(server, tmp_path, failure):
    check(fetch(tmp_path, server.mirror("a", failure), retries=1, timeout=timeout(failure)))
    assert server.ranges("a") == [None, None]


def test_a_server_that_wants_a_long_pause_does_not_get_it(server, tmp_path):
    started = time.monotonic()
    check(fetch(tmp_path, server.mirror("a", busy_for_long), retries=1))
    assert time.monotonic() - started < 3  # it asked for 4 s


def test_a_server_is_not_asked_again_what_it_forbade(server, tmp_path):
    with pytest.raises(DownloadError):
        fetch(tmp_path, server.mirror("a", status(403)), retries=2)
    assert len(server.asked) == 1


def test_each_further_try_waits_longer(server, tmp_path):
    started = time.monotonic()
    check(fetch(tmp_path, server.mirror("a", status(503), status(503)), retries=2))
    assert time.monotonic() - started > 0.9  # the pauses are 0 and 1 s


@pytest.mark.parametrize("failure", INTERRUPTED)
def test_a_broken_connection_is_opened_again_for_the_rest(server, tmp_path, failure):
    check(fetch(tmp_path, server.mirror("a", failure), retries=1, timeout=timeout(failure)))
    first, rest = server.ranges("a")
    assert first is None
    assert rest is not None


def test_a_later_call_asks_only_for_the_rest(server, tmp_path):
    mirror = server.mirror("a", broken_off)
    with pytest.raises(DownloadError):
        fetch(tmp_path, mirror)
    check(fetch(tmp_path, mirror))
    assert server.ranges("a") == [None, f"bytes={SIZE // 2}-"]


def put_part(root: Path, data: bytes) -> None:
    (root / "mnist").mkdir()
    (root / "mnist" / f"{IMAGES}.part").write_bytes(data)


BEGUN = ZIPPED[IMAGES][:1000]


@pytest.mark.parametrize(
    ("behaviour", "asked"),
    [
        (honest, ["bytes=1000-"]),
        (without_ranges, ["bytes=1000-"]),
        (range_refused, ["bytes=1000-", None]),
        (other_range, ["bytes=1000-", None]),
    ],
)
def test_whatever_a_server_makes_of_a_range_the_file_is_right(server, tmp_path, behaviour, asked):
    put_part(tmp_path, BEGUN)
    check(fetch(tmp_path, server.mirror("a", behaviour)))
    assert server.ranges("a") == asked


@pytest.mark.parametrize(
    ("begun", "asked"),
    [
        (bytes(1000), ["bytes=1000-", None]),
        (bytes(SIZE), [None]),
        (bytes(SIZE + 1), [None]),
        (b"", [None]),
        (ZIPPED[IMAGES], []),
    ],
    ids=["other bytes", "all other bytes", "longer", "empty", "whole"],
)
def test_what_another_version_began_is_fetched_once_more(server, tmp_path, begun, asked):
    put_part(tmp_path, begun)
    check(fetch(tmp_path, server.mirror("a")))
    assert server.ranges("a") == asked


def test_a_bad_beginning_of_one_mirror_does_not_spoil_the_next(server, tmp_path):
    check(fetch(tmp_path, server.mirror("a", altered_and_broken_off), server.mirror("b")))
    assert server.ranges("b") == [f"bytes={SIZE // 2}-", None]


def test_a_beginning_is_kept_for_a_mirror_that_has_the_file(server, tmp_path):
    put_part(tmp_path, BEGUN)
    failures = [status(403), page, shorter, longer]
    failing = [server.mirror(str(k), failure) for k, failure in enumerate(failures)]
    check(fetch(tmp_path, *failing, server.mirror("last")))
    assert server.ranges("last") == ["bytes=1000-"]


def test_a_body_without_end_is_not_waited_for(server, tmp_path):
    check(fetch(tmp_path, server.mirror("a", endless), server.mirror("b")))
    assert server.hung_up.wait(5)


def test_a_file_that_is_wrong_twice_is_not_left_behind(server, tmp_path):
    put_part(tmp_path, BEGUN)
    with pytest.raises(DownloadError, match="sends another file"):
        fetch(tmp_path, server.mirror("a", altered, altered))
    assert server.ranges("a") == ["bytes=1000-", None]
    assert left_behind(tmp_path) == []


# ---------------------------------------------------------------- processes


def child(root: Path, mirror: str) -> multiprocessing.Process:
    """A process that downloads the small set."""
    options = {"sources": {"mnist": source([mirror], "MNIST", False)}, "progress": False}
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=download_mnist, args=(root,), kwargs=options)
    process.start()
    return process


def test_two_processes_at_once_fetch_every_file_once(server, tmp_path):
    mirror = server.mirror("a", *[slow] * 8)  # so that the second comes while the first fetches
    processes = [child(tmp_path, mirror) for _ in range(2)]
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0]
    assert [(name, wanted) for _, name, wanted in server.asked] == WHOLE
    check(tmp_path / "mnist")


@pytest.mark.skipif(
    os.name == "nt", reason="Windows sends Ctrl-C to a whole console, not to one process"
)
def test_after_ctrl_c_a_download_goes_on_where_it_was(server, tmp_path):
    mirror = server.mirror("a", silent_after_half)
    part = tmp_path / "mnist" / f"{IMAGES}.part"
    process = child(tmp_path, mirror)
    deadline = time.monotonic() + 30
    while not (part.exists() and part.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGINT)
    process.join(30)
    assert process.exitcode == 1  # of Python's KeyboardInterrupt
    begun = part.stat().st_size
    assert 0 < begun <= SIZE // 2
    assert left_behind(tmp_path) == [part.name]
    check(fetch(tmp_path, mirror))
    assert server.ranges("a") == [None, f"bytes={begun}-"]


# ---------------------------------------------------------------- offline, torchvision, mistakes


def test_offline_asks_nobody_and_names_what_is_missing(server, tmp_path):
    mirror = server.mirror("a")
    folder = fetch(tmp_path, mirror)
    server.asked.clear()
    assert fetch(tmp_path, mirror, offline=True) == folder
    (folder / IMAGES).unlink()
    with pytest.raises(InputError) as caught:
        fetch(tmp_path, mirror, offline=True)
    assert str(caught.value) == (
        f"{folder}: has no right copy of {IMAGES}, and offline forbids to fetch any; call again with a "
        "network, or put them there (the copy in the package needs no network)"
    )
    assert server.asked == []


def test_offline_makes_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"kmnist: has no right copy of train-images.*t10k-labels"):
        download_mnist(tmp_path / "data", "kmnist", offline=True)
    assert list(tmp_path.iterdir()) == []


def write(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.mark.parametrize("files", [PLAIN, ZIPPED, PLAIN | ZIPPED], ids=["plain", "gz", "both"])
@pytest.mark.parametrize("plain_sums", [True, False])
def test_what_torchvision_fetched_is_taken(tmp_path, files, plain_sums):
    raw = write(tmp_path / "MNIST" / "raw", files)
    for root in (tmp_path, raw):
        assert fetch(root, offline=True, plain_sums=plain_sums) == raw
    assert left_behind(tmp_path) == sorted(files)
    assert idx(read_folder(raw).train_images) == PLAIN["train-images-idx3-ubyte"]


def test_files_in_any_root_are_taken_when_their_sums_prove_them(tmp_path):
    zips, plain = write(tmp_path / "zips", ZIPPED), write(tmp_path / "plain", PLAIN)
    assert fetch(zips, offline=True) == zips
    assert fetch(plain, offline=True, plain_sums=True) == plain
    with pytest.raises(InputError, match="no right copy"):  # they may be those of another set
        fetch(plain, offline=True, plain_sums=False)


@pytest.mark.parametrize(
    ("name", "data", "plain_sums"),
    [
        (IMAGES, ZIPPED[IMAGES][:-1], False),
        ("train-images-idx3-ubyte", PLAIN["train-images-idx3-ubyte"][:-1], False),
        ("train-images-idx3-ubyte", small_set(seed=1)["train-images-idx3-ubyte"], True),
    ],
    ids=["gz", "plain", "plain, by its sum"],
)
def test_a_damaged_torchvision_folder_is_left_alone_and_the_set_fetched(
    server, tmp_path, name, data, plain_sums
):
    raw = write(tmp_path / "MNIST" / "raw", (ZIPPED if name in ZIPPED else PLAIN) | {name: data})
    check(fetch(tmp_path, server.mirror("a"), plain_sums=plain_sums))
    assert (raw / name).read_bytes() == data


def test_a_set_by_another_name_is_an_error_that_lists_the_names(tmp_path):
    with pytest.raises(InputError, match=r"'emnist' is no data set .* mnist, fashion-mnist, kmnist$"):
        download_mnist(tmp_path, "emnist")


def test_a_root_whose_name_is_too_long_is_an_error_that_says_so(tmp_path):
    with pytest.raises(InputError, match=r"cannot be used .*; choose another root"):
        fetch(tmp_path / ("x" * 300), "http://127.0.0.1:9/")


@pytest.mark.parametrize("below", ["", "further"])
def test_a_root_that_is_a_file_is_an_error_that_says_so(tmp_path, below):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"mnist: cannot be used .*; choose another root"):
        fetch(tmp_path / "file" / below, "http://127.0.0.1:9/")


# ---------------------------------------------------------------- the table


@pytest.mark.parametrize("name", SOURCES)
def test_the_table_names_four_files_with_their_sums_and_two_mirrors(name):
    source = SOURCES[name]
    assert {file.plain_name for file in source.files} == set(FILES.values())
    assert all(len(bytes.fromhex(file.sha256)) == 32 and file.size > 4000 for file in source.files)
    assert len(set(source.mirrors)) == 2
    assert not any("lecun.com" in mirror for mirror in source.mirrors)


def test_no_sum_stands_in_the_table_twice():
    sums = [file.sha256 for source in SOURCES.values() for file in source.files]
    assert len(set(sums)) == 12
