import json
import shutil
from pathlib import Path

import cv2
import pytest

from ofa_det.cli.detect import main
from ofa_det.data.images import read_image


@pytest.fixture
def arguments(detector_folder, tiny_root, tmp_path):
    image, output = tiny_root / "val2017/000001.jpg", tmp_path / "out.png"
    return ["--model", str(detector_folder), "--image", str(image), "--output", str(output)]


def test_it_draws_and_lists(arguments, tmp_path, capsys):
    assert main([*arguments, "--score_threshold", "0.001"]) == 0
    assert read_image(tmp_path / "out.png").shape == (96, 128, 3)
    _, *rows, last = capsys.readouterr().out.splitlines()
    assert last == f"{len(rows)} detections, drawn in {tmp_path / 'out.png'}"
    assert len(rows) == 100
    assert {row.split()[-1] for row in rows} <= {"circle", "square", "triangle", "star"}


def test_names_may_come_from_a_file(arguments, tmp_path, capsys):
    labels = tmp_path / "names.txt"
    labels.write_text("".join(f"name{number}\n" for number in range(1, 25)))
    assert main([*arguments, "--score_threshold", "0.001", "--labels", str(labels)]) == 0
    _, *rows, _ = capsys.readouterr().out.splitlines()
    assert {row.split()[-1] for row in rows} <= {"name2", "name5", "name11", "name24"}


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--image", __file__], "expected a readable image"),
        (["--image", "none.jpg"], "none.jpg"),
        (["--score_threshold", "2"], "expected score_threshold in [0, 1], found 2"),
        (["--model", "none.onnx"], "found nothing at none.onnx"),
        (["--output", "out.gif"], "expected a picture ending in .jpg or .png, or a .json file, found out.gif"),
    ],
)
def test_a_mistake_is_one_line(arguments, capsys, more, words):
    assert main([*arguments, *more]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("ofa-det detect: error: ")
    assert words in line


@pytest.fixture
def model(detector_folder):
    return ["--model", str(detector_folder), "--score-threshold", "0.001"]


@pytest.fixture
def video(tmp_path, tiny_root):
    """Three frames of 96 x 128 px, 5 a second."""
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5.0, (128, 96))
    for image in sorted((tiny_root / "val2017").iterdir())[:3]:
        writer.write(read_image(image)[..., ::-1])
    writer.release()
    return path


def test_one_json_object_of_one_image(arguments, model, tmp_path, capsys):
    assert main([*arguments, *model, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (image,), output = printed["images"], printed["output"]
    assert (image["image"], image["width"], image["height"]) == ("000001.jpg", 128, 96)
    assert output == str(tmp_path / "out.png")
    assert len(image["objects"]) == 100
    scores = [found["score"] for found in image["objects"]]
    assert scores == sorted(scores, reverse=True)
    first = image["objects"][0]
    assert first["category"] in ("circle", "square", "triangle", "star")
    assert len(first["bbox"]) == 4


@pytest.mark.parametrize("how", ["folder", "pattern", "list"])
def test_several_images_become_a_folder_of_pictures(model, tiny_root, tmp_path, capsys, how):
    folder, output = tiny_root / "val2017", tmp_path / "out"
    files = sorted(map(str, folder.iterdir()))
    sources = {"folder": [str(folder)], "pattern": [f"{folder}/*.jpg"], "list": files}[how]
    assert main([*sources, *model, "--output", str(output), "--workers", "2"]) == 0
    assert sorted(path.name for path in output.iterdir()) == [Path(file).name for file in files]
    *lines, last = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [Path(file).name for file in files]
    assert last == f"{100 * len(files)} detections on {len(files)} images, drawn in {output}"


def test_what_is_no_image_is_left_out(model, tiny_root, tmp_path, capsys):
    folder, output = tmp_path / "pictures", tmp_path / "out.json"
    (folder / "more").mkdir(parents=True)
    for name in ("a.jpg", "more/a.jpg"):
        shutil.copyfile(tiny_root / "val2017/000001.jpg", folder / name)
    (folder / "broken.jpg").write_bytes(b"no picture")
    (folder / "notes.txt").touch()
    assert main([str(folder), *model, "--output", str(output)]) == 0
    assert "broken.jpg" in capsys.readouterr().err
    assert [image["image"] for image in json.loads(output.read_text())["images"]] == ["a.jpg", "more/a.jpg"]


def test_pictures_of_equal_names_do_not_replace_each_other(model, tiny_root, tmp_path):
    folder, output = tmp_path / "pictures", tmp_path / "out"
    folder.mkdir()
    for suffix in ("jpg", "png", "bmp"):
        cv2.imwrite(str(folder / f"a.{suffix}"), read_image(tiny_root / "val2017/000001.jpg"))
    assert main([str(folder), *model, "--output", str(output)]) == 0
    assert sorted(path.name for path in output.iterdir()) == ["a.jpg", "a.jpg.jpg", "a.png.jpg"]
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert main([str(folder), *model, "--output", str(folder)]) == 2
    assert main([str(folder / "a.png"), *model, "--output", str(folder / "a.png")]) == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_video_becomes_a_video(model, video, tmp_path, capsys, suffix):
    output = tmp_path / f"out{suffix}"
    assert main([str(video), *model, "--output", str(output), "--json"]) == 0
    images = json.loads(capsys.readouterr().out)["images"]
    assert [(image["image"], image["seconds"]) for image in images] == [("0", 0.0), ("1", 0.2), ("2", 0.4)]
    capture = cv2.VideoCapture(str(output))
    frames = [frame.shape for there, frame in iter(capture.read, (False, None))]
    assert (frames, capture.get(cv2.CAP_PROP_FPS)) == ([(96, 128, 3)] * 3, 5.0)
    assert not list(tmp_path.glob(".*"))


def test_no_more_frames_than_asked_for(model, video, tmp_path, capsys):
    assert main([str(video), *model, "--limit", "2", "--output", str(tmp_path / "out.json")]) == 0
    assert capsys.readouterr().out == f"200 detections on 2 images, written to {tmp_path / 'out.json'}\n"


def test_ctrl_c_ends_a_webcam_and_its_video_is_whole(model, video, tmp_path, capsys, monkeypatch):
    class Webcam:
        """A film that is interrupted after its second frame."""

        def __init__(self, source):
            assert source == 7
            self._film, self._frames = OPEN(str(video)), 0

        def read(self):
            self._frames += 1
            if self._frames > 2:
                raise KeyboardInterrupt
            return self._film.read()

        def __getattr__(self, name):
            return getattr(self._film, name)

    monkeypatch.setattr(cv2, "VideoCapture", Webcam)
    output = tmp_path / "out.avi"
    assert main(["7", *model, "--output", str(output)]) == 0
    assert capsys.readouterr().out == f"200 detections on 2 images, drawn in {output}\n"
    assert OPEN(str(output)).get(cv2.CAP_PROP_FRAME_COUNT) == 2


OPEN = cv2.VideoCapture


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["none*.jpg"], "expected images that none*.jpg matches, found none"),
        (["{empty}"], "expected images (.bmp,"),
        (["{video}", "--output", "out.jpg"], "expected a video ending in .mp4 or .avi"),
        (["{text}.mp4"], "expected a video that can be decoded, found none in"),
        (["{images}", "--output", "out.mp4"], "expected a folder or a .json file for several images"),
        (["{video}", "{video}"], "expected image files where there are several"),
        (["{images}", "--limit", "0"], "expected limit >= 1, found 0"),
        ([], "image"),
    ],
)
def test_a_mistake_about_what_is_looked_at_is_one_line(model, tiny_root, video, tmp_path, capsys, words, expected):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.mp4").write_text("no video")
    places = {"empty": tmp_path / "empty", "video": video, "text": tmp_path / "text", "images": tiny_root / "val2017"}
    assert main([*(word.format(**places) for word in words), *model]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line
