"""Download MNIST, or a sister set of the same form: the published .gz files, checked before they count.

MNIST itself travels with the package; this is for who wants its original files, Fashion-MNIST or
Kuzushiji-MNIST. A file is received as ``….gz.part`` and gets its name only when its size and its
SHA-256 are the published ones, so a file with the right name is the right file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.request import getproxies, proxy_bypass

import platformdirs
from filelock import FileLock
from urllib3 import PoolManager, ProxyManager, Retry, Timeout, exceptions
from urllib3.response import BaseHTTPResponse
from urllib3.util import parse_url

from gradsheet.errors import GradsheetError, InputError
from gradsheet.mnist.sources import SHA256, decompress, find_file, parse_idx
from gradsheet.progress import progress_bar

# ---------------------------------------------------------------- what is published


@dataclass(frozen=True)
class RemoteFile:
    """A published .gz file: its name, its size in bytes and its SHA-256.

    ``plain_sha256`` is the sum of what it holds, decompressed, where that is published too.
    """

    name: str
    size: int
    sha256: str
    plain_sha256: str | None = None

    @property
    def plain_name(self) -> str:
        return self.name.removesuffix(".gz")


@dataclass(frozen=True)
class Source:
    """A data set on the web: folders that hold all its files, in the order in which they are tried.

    ``torchvision`` is the name of the folder in which torchvision keeps this set, above ``raw``.
    """

    mirrors: tuple[str, ...]
    files: tuple[RemoteFile, ...]
    torchvision: str


# Sizes and sums as TensorFlow Datasets has them: url_checksums/{mnist,fashion_mnist,kmnist}.txt.
# MNIST's old home, yann.lecun.com, is no mirror: it answers 403.
# fmt: off
SOURCES: Mapping[str, Source] = {
    "mnist": Source(
        mirrors=(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz", 9_912_422,
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
                SHA256["train-images-idx3-ubyte"],
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz", 28_881,
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
                SHA256["train-labels-idx1-ubyte"],
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz", 1_648_877,
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
                SHA256["t10k-images-idx3-ubyte"],
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz", 4_542,
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
                SHA256["t10k-labels-idx1-ubyte"],
            ),
        ),
        torchvision="MNIST",
    ),
    "fashion-mnist": Source(
        mirrors=(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        ),
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz", 26_421_880,
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz", 29_515,
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz", 4_422_102,
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz", 5_148,
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
        torchvision="FashionMNIST",
    ),
    "kmnist": Source(
        mirrors=(
            "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
        ),
        files=(
            RemoteFile(
                "train-images-idx3-ubyte.gz", 18_165_135,
                "51467d22d8cc72929e2a028a0428f2086b092bb31cfb79c69cc0a90ce135fde4",
            ),
            RemoteFile(
                "train-labels-idx1-ubyte.gz", 29_497,
                "e38f9ebcd0f3ebcdec7fc8eabdcdaef93bb0df8ea12bee65224341c8183d8e17",
            ),
            RemoteFile(
                "t10k-images-idx3-ubyte.gz", 3_041_136,
                "edd7a857845ad6bb1d0ba43fe7e794d164fe2dce499a1694695a792adfac43c5",
            ),
            RemoteFile(
                "t10k-labels-idx1-ubyte.gz", 5_120,
                "20bb9a0ef54c7db3efc55a92eef5582c109615df22683c380526788f98e42a1c",
            ),
        ),
        torchvision="KMNIST",
    ),
}
# fmt: on


# ---------------------------------------------------------------- what a caller uses


class DownloadError(GradsheetError):
    """No mirror gave a file; the message has the reason of each."""


def download_mnist(
    root: Path | None = None,
    name: str = "mnist",
    *,
    mirrors: Sequence[str] | None = None,
    offline: bool = False,
    progress: bool = True,
    timeout: float = 15.0,
    retries: int = 2,
    sources: Mapping[str, Source] = SOURCES,
) -> Path:
    """The folder of a data set's four files, which are fetched where they are not there yet.

    `gradsheet.mnist.sources.read_folder` makes arrays of it::

        digits = read_folder(download_mnist(name="kmnist"))

    ``root`` is a folder that holds one folder per set, by default that of `data_folder`. What
    torchvision has put there (``root/MNIST/raw``, or ``root`` when it is that very folder) is taken as
    it is. ``mirrors`` replaces the web folders to fetch from, in the order in which they are tried;
    ``offline`` forbids to open a connection. A server that says nothing for ``timeout`` seconds, drops
    the connection or is overloaded is asked again, ``retries`` times, after longer and longer pauses. A
    download that was interrupted goes on where it broke off, also in a later call.

    Raises `InputError` for an unknown name, a folder that cannot be used, and files that are missing
    offline; `DownloadError` when all mirrors failed.
    """
    if name not in sources:
        raise InputError(f"{name!r} is no data set to download; choose one of {', '.join(sources)}")
    source = sources[name]
    root = data_folder() if root is None else Path(root).expanduser()
    folder = root / name
    packaged = " (the copy in the package needs no network)" if name == "mnist" else ""
    fetcher = _Fetcher(tuple(mirrors or source.mirrors), timeout, retries, progress)
    try:
        found = find_folder(root, name, source)
        if found is not None:
            return found
        if offline:
            missing = [file.name for file in source.files if not _is_published(folder / file.name, file)]
            raise InputError(
                f"{folder}: has no right copy of {', '.join(missing)}, and offline forbids to fetch "
                f"any; call again with a network, or put them there{packaged}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):  # a second process waits, then finds all files there
            for file in source.files:
                if not _is_published(folder / file.name, file):
                    fetcher.fetch(file, folder)
    except _AllFailedError as error:
        raise DownloadError(
            f"{name}: no mirror gave {error}; try again later, give another mirror, or put the files "
            f"into {folder}{packaged}"
        ) from None
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be used ({error.strerror or error}); choose another root, or another "
            "GRADSHEET_DATA_DIR"
        ) from None
    return folder


def data_folder() -> Path:
    """Where data sets are kept: $GRADSHEET_DATA_DIR, else a folder in the user's cache."""
    chosen = os.environ.get("GRADSHEET_DATA_DIR")
    return Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("gradsheet", False)


def find_folder(root: Path, name: str, source: Source) -> Path | None:
    """The folder in which all files of a set are right, ours or torchvision's; ``None`` without one.

    A .gz file is right by its sum, a plain one by its sum where that is known. A plain file of another
    set can only be told apart by its folder, so it counts in one that is named after the set.
    """
    raw = Path(source.torchvision, "raw")
    for folder in (root / name, root / raw, root):
        named = folder != root or root.parts[-2:] == raw.parts
        paths = [(find_file(folder, file.plain_name), file) for file in source.files]
        if all(path is not None and _is_right(path, file, named) for path, file in paths):
            return folder
    return None


def _is_right(path: Path, file: RemoteFile, named: bool) -> bool:
    if path.suffix == ".gz":
        return _is_published(path, file)
    try:
        plain = decompress(path)
        if file.plain_sha256 is not None:
            return hashlib.sha256(plain).hexdigest() == file.plain_sha256
        parse_idx(plain, path)
    except InputError:
        return False
    return named


def _is_published(path: Path, file: RemoteFile) -> bool:
    return path.is_file() and path.stat().st_size == file.size and _sha256(path) == file.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


# ---------------------------------------------------------------- how a file is fetched

CHUNK = 64 * 1024


class _RefusedError(Exception):
    """What a mirror answers is not the file; says why."""


class _AllFailedError(Exception):
    """Each mirror failed; names the file, each mirror and its reason."""


@dataclass(frozen=True)
class _Fetcher:
    """How to fetch: whom to ask, how long to wait for an answer, how often to ask again."""

    mirrors: tuple[str, ...]
    timeout: float
    retries: int
    progress: bool

    def fetch(self, file: RemoteFile, folder: Path) -> None:
        """Bring a file into a folder from the first mirror that has it."""
        part = folder / f"{file.name}.part"
        reasons = []
        for mirror in self.mirrors:
            url = f"{mirror.rstrip('/')}/{file.name}"
            try:
                self._complete(url, part, file)
            except (_RefusedError, exceptions.HTTPError) as error:
                reasons.append(f"{mirror} {self._reason(error)}")
            else:
                part.replace(folder / file.name)
                return
        raise _AllFailedError(f"{file.name}: {'; '.join(reasons)}")

    def _complete(self, url: str, part: Path, file: RemoteFile) -> None:
        """Make of ``part``, which may have been begun, the whole and right file."""
        begun = part.exists()
        self._receive_patiently(url, part, file)
        fault = _fault(part, file)
        if fault and begun:  # the first bytes may be those of another version: once more, from the start
            part.unlink()
            self._receive_patiently(url, part, file)
            fault = _fault(part, file)
        if fault:
            part.unlink()
            raise _RefusedError(fault)

    def _receive_patiently(self, url: str, part: Path, file: RemoteFile) -> None:
        """As `_receive`, but a connection that breaks off in the middle is opened again, too."""
        retry = Retry(
            self.retries,
            status_forcelist=(429, 500, 502, 503, 504),
            backoff_factor=0.5,
            respect_retry_after_header=False,  # it may say hours, and the next mirror needs none
            raise_on_status=False,
        )
        while True:
            try:
                return self._receive(url, part, file, retry)
            except (exceptions.ProtocolError, exceptions.ReadTimeoutError) as error:
                retry = retry.increment("GET", url, error=error)
                retry.sleep()

    def _receive(self, url: str, part: Path, file: RemoteFile, retry: Retry) -> None:
        """Append to ``part`` what it lacks; begin anew when the server cannot send the rest alone."""
        start = part.stat().st_size if part.exists() else 0
        if start >= file.size:
            return
        headers = {"Range": f"bytes={start}-"} if start else {}
        with (
            _pool(url) as pool,
            pool.request(
                "GET",
                url,
                headers=headers,
                timeout=Timeout(self.timeout),
                retries=retry,
                preload_content=False,
            ) as response,
        ):
            given = response.headers.get("Content-Range", "")
            if response.status == 206 and given.startswith(f"bytes {start}-"):
                return self._save(response, part, file, start)
            if response.status == 200:
                return self._save(response, part, file, 0)
        if not start or response.status not in (206, 416):
            raise _RefusedError(f"answers {response.status} {response.reason}")
        part.unlink()  # it is longer than the server's file, or the server does not know its way in it
        self._receive(url, part, file, retry)

    def _save(self, response: BaseHTTPResponse, part: Path, file: RemoteFile, start: int) -> None:
        """Write a body into ``part`` from the byte ``start`` on."""
        if response.headers.get("Content-Type", "").startswith("text/html"):
            raise _RefusedError("sends a web page, not the file")
        if response.length_remaining not in (None, file.size - start):
            raise _RefusedError(f"sends {start + response.length_remaining:,} bytes, not {file.size:,}")
        with (
            part.open("ab" if start else "wb") as opened,
            progress_bar(
                desc=file.name,
                initial=start,
                total=file.size,
                unit="B",
                unit_scale=True,
                disable=not self.progress,
            ) as bar,
        ):
            # Undecoded: to some servers the .gz is the encoding of a plain file, but we want the .gz.
            for chunk in response.stream(CHUNK, decode_content=False):
                opened.write(chunk)
                bar.update(len(chunk))
                if opened.tell() > file.size:  # a body without end must not fill the disk
                    break

    def _reason(self, error: Exception) -> str:
        cause = error.reason if isinstance(error, exceptions.MaxRetryError) and error.reason else error
        if isinstance(cause, exceptions.NameResolutionError):
            return "is not found, perhaps because there is no network"
        if isinstance(cause, exceptions.NewConnectionError):
            return "accepts no connection"
        if isinstance(cause, exceptions.TimeoutError):  # of which urllib3 thinks the two above are kinds
            return f"gives no answer within {self.timeout:g} s"
        if isinstance(cause, exceptions.ProtocolError):
            return "breaks the connection off"
        return str(cause)


def _pool(url: str) -> PoolManager:
    """Connections as the system wants them: urllib3 alone does not look at HTTP_PROXY and NO_PROXY."""
    address = parse_url(url)
    proxy = getproxies().get(address.scheme or "")
    if proxy is None or proxy_bypass(address.host or ""):
        return PoolManager()
    return ProxyManager(proxy)


def _fault(part: Path, file: RemoteFile) -> str | None:
    """What is wrong with a received file, or ``None``."""
    size = part.stat().st_size
    if size > file.size:
        return f"sends more than {file.size:,} bytes"
    if size < file.size:
        return f"sends {size:,} bytes, not {file.size:,}"
    found = _sha256(part)
    if found != file.sha256:
        return f"sends another file (its SHA-256 is {found[:12]}…, not {file.sha256[:12]}…)"
    return None
