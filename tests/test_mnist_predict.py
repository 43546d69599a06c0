"""Pictures of digits that anyone could make come back as MNIST would show them, or are refused.

Most tests draw an image of MNIST's own test set in another way and compare what is read with the image
itself, pixel by pixel, as the mean distance of grey values (0 to 255).
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

torch = pytest.importorskip("torch")

from gradsheet.errors import InputError, TooLargeError  # noqa: E402
from gradsheet.mnist.model import Net, predict_probabilities  # noqa: E402
from gradsheet.mnist.predict import predict, read_digit  # noqa: E402
from gradsheet.mnist.utils import prepare_mnist  # noqa: E402

SAME = 0.5
"""Rounding, and the brightest pixel, 254 in some images of MNIST, brought to 255."""

CLOSE = 30.0
"""A smooth picture loses sharpness, and moves by one pixel where the centre of mass lies between two.
Two images of different digits are 40 apart or more, see the first test."""


@pytest.fixture(scope="module")
def digits():
    """200 images of MNIST's test set, 20 of each digit."""
    test = prepare_mnist().test
    chosen = torch.cat([torch.nonzero(test.labels == digit)[:20, 0] for digit in range(10)])
    return test.images[chosen].numpy()


@pytest.fixture(scope="module")
def some(digits):
    """One image of each digit."""
    return digits[::20]


@pytest.fixture
def read(tmp_path):
    """Write an array or a picture to a file, read it back as a digit."""

    def write_and_read(picture, name="digit.png", **options):
        if isinstance(picture, np.ndarray):
            picture = Image.fromarray(picture)
        path = tmp_path / name
        picture.save(path, **options)
        return read_digit(path).numpy()

    return write_and_read


def distance(found, expected):
    return np.abs(found.astype(int) - expected).mean()


def enlarged(image, size):
    return np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))


def on_page(image, top, left, height, width):
    page = np.zeros((height, width), dtype=np.uint8)
    page[top : top + len(image), left : left + len(image)] = image
    return page


def photographed(image, light, seed=0, noise=4.0):
    """Dark ink, which reflects a fifth of the light on the page, with the noise of a camera."""
    grey = light * (1 - 0.8 * image / 255)
    grey += np.random.default_rng(seed).normal(0, noise, grey.shape)
    return np.clip(grey, 0, 255).astype(np.uint8)


def positions(height, width):
    return np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")


# ---------------------------------------------------------------- MNIST itself


def test_images_of_other_digits_are_further_apart_than_what_counts_as_close(some):
    apart = [distance(a, b) for i, a in enumerate(some) for b in some[:i]]
    assert min(apart) > CLOSE


def test_an_image_of_mnist_comes_back_as_it_is(read, digits):
    assert len(digits) == 200
    for image in digits:
        found = read(image)
        assert np.abs(found.astype(int) - image).max() <= 1  # 254 of 255 is 255 of 255


def test_what_is_read_is_uint8_of_28_by_28(read, some):
    found = read(enlarged(some[3], 90))
    assert (found.dtype, found.shape) == (np.uint8, (28, 28))
    assert found.max() == 255


def test_dark_ink_on_light_paper_is_turned_round(read, digits):
    for image in digits[::4]:
        assert distance(read(255 - image), image) < SAME


@pytest.mark.parametrize("factor", [2, 9])
@pytest.mark.parametrize("dark", [False, True])
def test_a_digit_of_larger_pixels_comes_back(read, some, factor, dark):
    for image in some:
        picture = image.repeat(factor, 0).repeat(factor, 1)
        assert distance(read(255 - picture if dark else picture), image) < SAME


@pytest.mark.parametrize("size", [40, 84, 200])
def test_a_smoothly_enlarged_digit_comes_back(read, some, size):
    distances = [distance(read(enlarged(image, size)), image) for image in some]
    assert max(distances) < CLOSE
    assert np.mean(distances) < 15


@pytest.mark.parametrize("size", [8, 14])
def test_a_tiny_picture_is_read(read, some, size):
    distances = [distance(read(enlarged(image, size)), image) for image in some]
    assert np.mean(distances) < CLOSE  # much is lost: a stroke is less than a pixel wide


def test_a_huge_picture_is_read(read, some):
    page = on_page(some[4].repeat(100, 0).repeat(100, 1), 2500, 700, 6000, 6000)
    # The strokes' edges fall between pixels of the reduced picture.
    assert distance(read(255 - page, compress_level=1), some[4]) < 10


@pytest.mark.parametrize("place", [(0, 0), (0, 172), (172, 0), (172, 172), (31, 97)])
def test_the_place_in_the_picture_does_not_matter(read, some, place):
    for image in some:
        assert distance(read(on_page(image, *place, 200, 200)), image) < SAME


def test_a_narrow_page_is_read(read, some):
    for image in some[:3]:
        assert distance(read(on_page(image, 400, 0, 480, 28)), image) < SAME


def test_ink_may_touch_the_border(read, some):
    for image in some[[0, 2, 3, 5]]:
        rows, columns = np.nonzero(image)
        cut = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        for picture in (cut, 255 - cut, 255 - cut.repeat(10, 0).repeat(10, 1)):
            assert distance(read(picture), image) < SAME


# ---------------------------------------------------------------- the form of MNIST


def drawn(box, width, size=(300, 400), kind="ellipse"):
    """A ring or a stroke in black on white."""
    picture = Image.new("L", (size[1], size[0]), 255)
    draw = ImageDraw.Draw(picture)
    if kind == "ellipse":
        draw.ellipse(box, outline=0, width=width)
    else:
        draw.line(box, fill=0, width=width)
    return picture


@pytest.mark.parametrize("box", [(20, 30, 80, 200), (200, 10, 390, 120), (5, 5, 25, 35)])
@pytest.mark.parametrize("width", [3, 9])
def test_the_longer_side_of_a_digit_is_20_pixels_and_its_centre_of_mass_in_the_middle(read, box, width):
    found = read(drawn(box, width)).astype(float)
    rows, columns = np.nonzero(found > 127)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20, 21)  # an edge may fall inside a pixel
    assert found.sum(axis=1) @ np.arange(28) / found.sum() == pytest.approx(14, abs=0.51)
    assert found.sum(axis=0) @ np.arange(28) / found.sum() == pytest.approx(14, abs=0.51)


def test_the_centre_of_mass_is_centred_not_the_box(read):
    flag = np.full((120, 100), 255, dtype=np.uint8)
    flag[10:110, 20:30] = 0
    flag[10:40, 30:80] = 0  # heavy at the top
    found = read(flag).astype(float)
    rows = np.nonzero(found.max(axis=1) > 127)[0]
    assert found.sum(axis=1) @ np.arange(28) / found.sum() == pytest.approx(14, abs=0.51)
    assert (rows.min() + rows.max()) / 2 > 15.5  # so the box hangs low


@pytest.mark.parametrize("width", [1, 4, 60])
def test_a_thin_or_thick_stroke_is_read(read, width):
    found = read(drawn((100, 50, 100, 250), width, kind="line"))
    rows, columns = np.nonzero(found > 127)
    assert np.ptp(rows) + 1 == pytest.approx(20, abs=1)
    assert np.ptp(columns) + 1 == pytest.approx(max(1, width / 10), abs=1)


# ---------------------------------------------------------------- formats


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA"])
def test_every_mode_of_png_is_read(read, some, mode):
    for image in some:
        picture = Image.fromarray(255 - image.repeat(4, 0).repeat(4, 1)).convert(mode, dither=0)
        assert distance(read(picture), image) < (CLOSE if mode == "1" else SAME)


@pytest.mark.parametrize(("name", "mode"), [
    ("digit.bmp", "1"), ("digit.bmp", "L"), ("digit.bmp", "RGB"), ("digit.gif", "L"), ("digit.gif", "P"),
])  # fmt: skip
def test_bmp_and_gif_are_read(read, some, name, mode):
    for image in some:
        picture = Image.fromarray(image).convert(mode, dither=0)
        assert distance(read(picture, name), image) < (CLOSE if mode == "1" else SAME)


def test_16_bits_of_grey_are_read(read, some):
    for factor in (1, 4):
        for image in some:
            picture = (65535 - 200 * image.astype(np.uint16)).repeat(factor, 0).repeat(factor, 1)
            assert distance(read(picture), image) < SAME


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("quality", [5, 50])
def test_a_jpeg_is_read_despite_its_noise(read, some, mode, quality):
    pictures = [Image.fromarray(255 - enlarged(image, 120)).convert(mode) for image in some]
    found = [read(picture, "digit.jpg", quality=quality) for picture in pictures]
    distances = [distance(*pair) for pair in zip(found, some, strict=True)]
    assert max(distances) < CLOSE
    assert np.mean(distances) < 15


def test_a_file_is_known_by_its_content_not_by_its_name(read, some):
    assert distance(read(some[6], "digit.txt", format="PNG"), some[6]) < SAME


@pytest.mark.parametrize(("ink", "paper"), [
    ((250, 0, 0), (0, 127, 0)),  # of the same brightness
    ((255, 255, 0), (255, 255, 255)),
    ((0, 0, 255), (0, 0, 0)),
])  # fmt: skip
def test_coloured_ink_is_read_even_if_it_is_as_bright_as_the_paper(read, some, ink, paper):
    for image in some:
        share = image[:, :, None] / 255
        picture = np.round(np.array(ink) * share + np.array(paper) * (1 - share)).astype(np.uint8)
        # A channel of 127 levels rounds each grey value to a step of two.
        assert distance(read(picture), image) < 2 * SAME


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (0, 0, 200)])
def test_strokes_on_a_transparent_picture_are_ink_whether_dark_or_light(read, some, colour):
    for image in some:
        picture = Image.new("RGBA", (28, 28), colour)
        picture.putalpha(Image.fromarray(image))
        assert distance(read(picture), image) < SAME


def test_a_transparent_frame_around_the_paper_is_not_read(read, some):
    for image in some:
        picture = Image.new("RGBA", (200, 200), (0, 0, 0, 0))
        paper = Image.fromarray(255 - on_page(image.repeat(4, 0).repeat(4, 1), 20, 40, 160, 180))
        picture.paste(paper.convert("RGBA"), (10, 20))
        assert distance(read(picture), image) < SAME


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_followed(read, some, orientation):
    undo = {  # stored so that a viewer who follows the orientation shows it upright
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM, 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = Image.fromarray(255 - some[7].repeat(8, 0).repeat(8, 1))
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    assert distance(read(stored, "digit.jpg", exif=exif, quality=95), some[7]) < 5


def test_damaged_exif_data_do_not_matter(read, some):
    entries = b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01"  # says five, and ends in the first
    stored = Image.fromarray(255 - some[7].repeat(8, 0).repeat(8, 1))
    assert distance(read(stored, "digit.jpg", exif=entries, quality=95), some[7]) < 5


# ---------------------------------------------------------------- photographs


def test_faint_ink_is_brought_to_full_contrast(read, some):
    for image in some:
        found = read((120 + 0.2 * image).astype(np.uint8))
        assert distance(found, image) < 2 * SAME  # fifty levels only


@pytest.mark.parametrize("kind", ["gradient", "vignette", "shadow"])
def test_uneven_light_is_not_read_as_ink(read, some, kind):
    y, x = positions(200, 240)
    light = {
        "gradient": 160 + 80 * (0.6 * x + 0.4 * y),
        "vignette": 230 * (1 - 0.3 * (x**2 + y**2)),
        "shadow": 230 * (0.65 + 0.35 / (1 + np.exp(-4 * x - 2 * y))),
    }[kind]
    distances = []
    for image in some:
        page = on_page(enlarged(image, 140), 20, 90, 200, 240)
        distances.append(distance(read(photographed(page, light)), image))
    assert max(distances) < CLOSE
    assert np.mean(distances) < 15


def test_light_ink_on_an_unevenly_lit_board_is_read(read, some):
    y, x = positions(240, 240)
    board = 50 + 20 * x - 10 * y
    for image in some:
        picture = (board + 0.6 * enlarged(image, 240)).astype(np.uint8)
        assert distance(read(picture), image) < CLOSE


def test_noise_is_not_read_as_ink(read, some):
    light = np.full((240, 240), 200.0)
    for seed, image in enumerate(some):
        found = read(photographed(enlarged(image, 240), light, seed, noise=12))
        assert distance(found, image) < CLOSE
        assert np.median(found) == 0  # the paper is quite black


def test_specks_of_dirt_do_not_count(read, some):
    for image in some:
        page = 255 - on_page(image.repeat(7, 0).repeat(7, 1), 60, 90, 340, 400)
        page[10:14, 380:385] = page[320:325, 5:9] = 40
        assert distance(read(page), image) < SAME


def test_a_digit_of_two_pieces_keeps_both(read):
    five = Image.new("L", (100, 120), 255)
    draw = ImageDraw.Draw(five)
    draw.rectangle([20, 50, 70, 100], outline=0, width=9)
    draw.rectangle([40, 15, 80, 25], fill=0)  # its roof does not touch
    found = read(five)
    ink = np.nonzero((found > 127).any(axis=1))[0]
    assert len(ink) < np.ptp(ink) + 1  # an empty row between the two
    assert found[ink.min(), 14:20].max() > 127


def test_a_bit_of_a_broken_stroke_is_no_dirt(read, some):
    broken = some[0].copy()
    assert broken[13:16, 13:16].max() == 0  # the inside of the nought
    broken[14, 14] = 255
    assert read(broken)[14, 14] == 255


# ---------------------------------------------------------------- what is refused


def refused(path, match):
    with pytest.raises(InputError, match=match) as caught:
        read_digit(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


def png_header(width, height):
    """A PNG of this size, in 8-bit grey, that ends after its first bytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = b"IDAT" + zlib.compress(b"\0" * 100)
    chunks = [
        struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, data)
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_a_missing_file_is_refused(tmp_path):
    refused(tmp_path / "nowhere.png", r"cannot be opened \(No such file or directory\)")


def test_a_folder_is_refused(tmp_path):
    refused(tmp_path, "cannot be opened")


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"%PDF-1.7\n", b"<svg xmlns='http://www.w3.org/2000/svg'/>"]
)
def test_a_file_that_is_no_picture_is_refused(tmp_path, content):
    path = tmp_path / "digit.png"
    path.write_bytes(content)
    refused(path, "is no PNG, JPEG, BMP or GIF picture; convert it to PNG")


def test_another_format_is_refused(tmp_path, some):
    path = tmp_path / "digit.tif"
    Image.fromarray(some[0]).save(path)
    refused(path, "is no PNG, JPEG, BMP or GIF picture; convert it to PNG")


@pytest.mark.parametrize("format", ["PNG", "JPEG", "BMP"])
def test_a_truncated_picture_is_refused(tmp_path, some, format):
    whole = io.BytesIO()
    Image.fromarray(enlarged(some[8], 200)).save(whole, format)
    path = tmp_path / "digit"
    path.write_bytes(whole.getvalue()[: len(whole.getvalue()) // 2])
    refused(path, r"is damaged \(.+\); save the picture again")


@pytest.mark.parametrize("side", [10_000, 60_000])  # Pillow only warns of the first
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    error = refused(path, r"has more than [\d,]+ pixels; shrink the picture first")
    assert isinstance(error, TooLargeError)


@pytest.mark.parametrize("grey", [0, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (28, 28), (300, 200)])
def test_a_blank_picture_is_refused(tmp_path, grey, size):
    path = tmp_path / "blank.png"
    Image.new("L", size, grey).save(path)
    refused(path, "shows no digit")


def test_a_wholly_transparent_picture_is_refused(tmp_path):
    path = tmp_path / "blank.png"
    Image.new("RGBA", (50, 50), (0, 0, 0, 0)).save(path)
    refused(path, "shows no digit")


def test_a_photograph_of_blank_paper_is_refused(tmp_path):
    y, x = positions(400, 300)
    paper = photographed(np.zeros((400, 300)), 200 + 30 * x - 20 * y * y, noise=8)
    path = tmp_path / "blank.png"
    Image.fromarray(paper).save(path)
    refused(path, "shows no digit")


# ---------------------------------------------------------------- prediction


def test_a_prediction_is_the_most_probable_digit_with_ten_probabilities(digits):
    torch.manual_seed(0)
    model, images = Net(), torch.from_numpy(digits[:30])
    predictions = predict(model, images)
    expected = predict_probabilities(model, images)
    assert [found.digit for found in predictions] == expected.argmax(dim=1).tolist()
    assert [list(found.probabilities) for found in predictions] == expected.tolist()
    assert all(
        sum(found.probabilities) == pytest.approx(1, abs=1e-5) for found in predictions
    )  # float32


@pytest.mark.parametrize("images", [torch.zeros(28, 28, dtype=torch.uint8), torch.zeros(2, 28, 28)])
def test_images_of_another_kind_are_refused(images):
    with pytest.raises(InputError, match="the model reads uint8 of shape"):
        predict(Net(), images)
