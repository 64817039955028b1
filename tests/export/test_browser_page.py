"""The page of docs/browser in a browser, against the interpreter of Python."""

import json
import re
import shutil
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from chromium import chromium, needs_chromium
from export.conversions import converted_file

from ofa_det.data.images import read_image, stretch
from ofa_det.detection.preprocessing import normalise_array

PAGE = Path(__file__).parents[2] / "docs/browser"
LABELS = [f"label {number}" for number in range(24)]

pytestmark = [
    pytest.mark.tflite,
    needs_chromium,
    pytest.mark.skipif(not (PAGE / "node_modules").is_dir(), reason="`npm install` was not run in docs/browser"),
]


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder without a line for each request."""

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory, trained, images):
    """What a user serves: the page, its packages, a file and its labels."""
    folder = tmp_path_factory.mktemp("served")
    for name in ("index.html", "detector.js"):
        shutil.copyfile(PAGE / name, folder / name)
    (folder / "node_modules").symlink_to(PAGE / "node_modules")
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n")
    (folder / "model.tflite").write_bytes(converted_file(trained, images, quantized=True).content)
    return folder


@pytest.fixture(scope="module")
def address(folder):
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("chromium")) as started:
        yield started


def ready(browser, address, model="model.tflite"):
    """Opens the page with a file, and waits until it is loaded."""
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(f"{address}?model={model}")
    browser.until("!document.querySelector('#picture').disabled")


def called(browser, address, image, call, model="model.tflite"):
    """Calls a method of the page's module with a picture."""
    rgba = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    return browser.run(
        f"""(async () => {{
          const {{Detector}} = await import('{address}detector.js');
          const detector = await Detector.load('{model}');
          const pixels = new Uint8ClampedArray({json.dumps(rgba.ravel().tolist())});
          const image = await createImageBitmap(new ImageData(pixels, {image.shape[1]}, {image.shape[0]}));
          return {call};
        }})()"""
    )


def interpreted(path, pixels):
    """Boxes (xmin, ymin, xmax, ymax), labels and scores of every detection, as the interpreter here has them."""
    interpreter = Interpreter(str(path), num_threads=1)
    interpreter.allocate_tensors()
    (entry,) = interpreter.get_input_details()
    interpreter.set_tensor(entry["index"], pixels.reshape(entry["shape"]))
    interpreter.invoke()
    boxes, classes, scores, count = (interpreter.get_tensor(out["index"]) for out in interpreter.get_output_details())
    found = slice(int(count[0]))
    return boxes[0, found][:, [1, 0, 3, 2]], [LABELS[int(label)] for label in classes[0, found]], scores[0, found]


def test_the_browser_finds_what_the_interpreter_finds(browser, address, folder, images):
    ready(browser, address)
    boxes, labels, scores = interpreted(folder / "model.tflite", images[0])
    found = called(browser, address, images[0], "detector.detect(image, 0)")
    assert len(found) == len(scores) > 50
    assert [row["label"] for row in found] == labels
    np.testing.assert_allclose([row["score"] for row in found], scores, atol=1e-6)
    np.testing.assert_allclose([row["box"] for row in found], boxes, atol=1e-6)


def test_a_picture_is_stretched_scored_drawn_and_told(browser, address, folder, tiny_root):
    path = min((tiny_root / "val2017").glob("*.jpg"))
    ready(browser, address)
    picture = read_image(path)
    pixels = np.array(called(browser, address, picture, "Array.from(detector.pixels(image))"), np.uint8)
    difference = np.abs(pixels.reshape(64, 64, 3) - stretch(picture, (64, 64)).astype(float))
    assert difference.mean() < 1  # Of 255; two libraries interpolate.
    assert difference.max() < 16

    browser.choose_file("#picture", path)
    browser.until("document.querySelector('#status').textContent.includes('found in')")
    told = browser.run("[...document.querySelectorAll('#found li')].map((line) => line.textContent)")
    boxes, labels, scores = interpreted(folder / "model.tflite", pixels)
    shown = scores >= 0.4
    assert len(told) == shown.sum() > 5
    rows = [re.fullmatch(r"(label \d+) ([\d.]+) at \[(.*)\]", line).groups() for line in told]
    assert [label for label, _, _ in rows] == [label for label, kept in zip(labels, shown, strict=True) if kept]
    height, width = picture.shape[:2]
    places = np.array([box.split(", ") for _, _, box in rows], float)
    np.testing.assert_allclose(places, boxes[shown] * [width, height, width, height], atol=0.51)
    assert browser.run("[view.width, view.height]") == [width, height]
    for width in (360, 1400):
        browser.resize(width)
        assert browser.run("document.documentElement.scrollWidth <= innerWidth")
    # The runtime writes what it does to the console.
    assert [said for said in browser.complaints if not re.search(r'"(INFO|WARNING): ', said)] == []
    assert all(asked.startswith((address, "data:", "blob:")) for asked in browser.requests)


def test_a_camera_is_watched_until_it_is_stopped(browser, address):
    ready(browser, address)
    browser.run("camera.click()")
    browser.until("document.querySelector('#status').textContent.includes('found in')")
    assert browser.run("[camera.textContent, view.width, view.height]") == ["Stop", 640, 480]
    browser.run("camera.click()")
    assert browser.run("camera.textContent") == "Camera"


def test_a_float_file_gets_what_it_was_trained_on(browser, address, folder, write_detector):
    made = write_detector([[0.5, 0.5, 0.5, 0.25]], [[0.0, 0.875]], input_type=schema.TensorType.FLOAT32)
    shutil.copyfile(made, folder / "float.tflite")
    ready(browser, address, "float.tflite")
    image = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    pixels = called(browser, address, image, "Array.from(detector.pixels(image))", "float.tflite")
    np.testing.assert_array_equal(pixels, normalise_array(image).ravel())
    (found,) = called(browser, address, image, "detector.detect(image)", "float.tflite")
    assert found["label"] == "label 1"
    np.testing.assert_allclose(found["box"], [0.25, 0.375, 0.75, 0.625], atol=1e-6)


@pytest.fixture
def shapeless(write_detector):
    """A file that does not state the shapes of its outputs, as TensorFlow's own SSD files do not."""
    made = write_detector([[0.5, 0.5, 0.5, 0.25]], [[0.0, 0.875]])
    model = schema.ModelT.InitFromPackedBuf(made.read_bytes(), 0)
    for output in model.subgraphs[0].outputs:
        model.subgraphs[0].tensors[output].shape = []
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    made.write_bytes(bytes(builder.Output()))
    return made


def test_a_file_that_cannot_be_run_is_told_of(browser, address, folder, shapeless, write_detector):
    shutil.copyfile(shapeless, folder / "shapeless.tflite")
    made = write_detector([[0.5, 0.5, 0.5, 0.25]], [[0.0, 0.875]], input_type=schema.TensorType.INT8)
    shutil.copyfile(made, folder / "int8.tflite")
    for model, said in (
        ("none.tflite", "none.tflite, found nothing there (404)"),
        ("shapeless.tflite", "expected outputs [1,N,4] [1,N] [1,N] [1], found [] [] [] []"),
        ("int8.tflite", "INT8 is not supported"),
    ):
        browser.open(f"{address}?model={model}")
        browser.until("!document.querySelector('#status').textContent.includes('loading')")
        assert said in browser.run("document.querySelector('#status').textContent")
        assert browser.run("picture.disabled && camera.disabled")
