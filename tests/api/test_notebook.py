"""The notebook has left what it says, and its model predicts what the command predicts."""

import csv
import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import shardtune
from shardtune.predict import predictor as one_call
from tests.docs.markdown import ROOT
from tests.launching import shardtune as command


def test_it_does_the_whole_job(notebook: tuple[Path, str]) -> None:
    directory, said = notebook
    run = directory / "work" / "run"
    assert "Finished writing all 54 images in data set.\n" in said  # of the log
    assert said.count("precision@1 after ") == 2
    assert json.loads((run / "outcome.json").read_text())["outcome"] == "finished"
    assert json.loads((run / "eval" / "eval.json").read_text())["examples"] == 18
    assert (run / "report.html").is_file()
    assert (directory / "work" / "export" / "model.keras").is_file()
    assert (directory / "work" / "export" / "README.md").is_file()


def test_it_is_kept_without_what_its_cells_have_said() -> None:
    cells = json.loads((ROOT / "docs" / "notebook.ipynb").read_text())["cells"]
    assert [cell for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    assert len({cell["id"] for cell in cells}) == len(cells)


@pytest.mark.parametrize("model", ["run", "export"])
def test_probabilities_are_those_of_the_command(notebook: tuple[Path, str], tmp_path: Path, model: str) -> None:
    work = notebook[0] / "work"
    files = sorted((work / "images").rglob("*.jpg"))[::9]
    command("predict", "--model", work / model, "--output", tmp_path / "p.csv", "--top_k", 2, *files)
    rows = list(csv.DictReader((tmp_path / "p.csv").read_text().splitlines()))
    predictor = shardtune.Predictor(work / model, top_k=2)
    for paths in (files, map(str, files)):
        *predictions, missing = predictor.predict([*paths, tmp_path / "nothing.jpg"])
        assert [each.classes for each in predictions] == [(row["class_1"], row["class_2"]) for row in rows]
        assert [[repr(value) for value in each.probabilities] for each in predictions] == [
            [row["probability_1"], row["probability_2"]] for row in rows
        ]
        assert missing == shardtune.Prediction((), (), (), "unreadable: no such file")


@pytest.fixture(scope="module")
def predictor(notebook: tuple[Path, str]) -> shardtune.Predictor:
    return shardtune.Predictor(notebook[0] / "work" / "run")


def test_images_come_in_many_forms(notebook: tuple[Path, str], predictor: shardtune.Predictor, tmp_path: Path) -> None:
    assert predictor.classes == ("background", "blue", "green", "red")
    file = notebook[0] / "work" / "images" / "red" / "0.jpg"
    from_file, from_bytes = predictor.predict([file, file.read_bytes()])
    assert from_file == from_bytes
    assert sum(from_file.probabilities) == pytest.approx(1)
    assert [predictor.classes[label] for label in from_file.labels] == list(from_file.classes)
    image = Image.open(file)
    image.save(tmp_path / "image.png")
    decoded = predictor.predict([tmp_path / "image.png", image, np.asarray(image)])
    assert decoded[0] == decoded[1] == decoded[2] != from_file
    turned = Image.open(file)
    turned.getexif()[0x0112] = 6  # as a phone held upright has it
    assert predictor.predict([turned]) == predictor.predict([image.transpose(Image.Transpose.ROTATE_270)])
    others = predictor.predict([image.convert(mode) for mode in ("L", "CMYK", "RGBA", "P")] + [np.asarray(image.convert("L"))])
    assert [each.error for each in others] == [""] * 5
    assert others[0] == others[4]
    assert predictor.predict([]) == []
    assert predictor.predict([b"no image"])[0].error.startswith("unsupported: ")
    for wrong in (file, str(file), file.read_bytes(), image, np.asarray(image)):
        with pytest.raises(shardtune.UsageError, match=r"^predict\(\) takes several images\. Put the image in a list\.$"):
            predictor.predict(wrong)  # type: ignore[arg-type]
    for no_image in (np.zeros((8, 8, 3)), np.zeros((8, 8, 4), np.uint8), 7):
        with pytest.raises(shardtune.UsageError):
            predictor.predict([no_image])  # type: ignore[list-item]


def test_an_image_that_cannot_be_read_is_said_and_the_others_are_predicted(predictor: shardtune.Predictor) -> None:
    noise, file = Image.effect_noise((300, 300), 100).convert("RGB"), io.BytesIO()
    noise.save(file, "JPEG")
    cut = Image.open(io.BytesIO(file.getvalue()[:-1000]))
    kinds = [Image.new(mode, (80, 80)) for mode in ("F", "HSV")]
    odd_metadata = noise.copy()
    odd_metadata.info["exif"] = b"Exif\0\0nothing"
    *unread, odd, plain = predictor.predict([cut, np.zeros((0, 5, 3), np.uint8), *kinds, odd_metadata, noise])
    assert [each.error.partition(" (")[0] for each in unread] == [
        "unreadable: image file is truncated",
        "unreadable: cannot write empty image",
        "unsupported: floating-point pixels: convert it to 8 or 16 bits a channel",
        "unreadable: cannot write mode HSV as TIFF",
    ]
    assert odd == plain


def test_several_threads_share_a_predictor(
    notebook: tuple[Path, str], predictor: shardtune.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted((notebook[0] / "work" / "images").rglob("*.jpg"))[::9]
    run, inside, most = one_call.Predictor.run, [], []

    def watched(self: one_call.Predictor, *arguments: Any) -> Iterator[Any]:
        inside.append(self)
        most.append(len(inside))
        time.sleep(0.2)  # the others come meanwhile, if they can
        yield from run(self, *arguments)
        inside.pop()

    expected = [predictor.predict([file]) for file in files]
    monkeypatch.setattr(one_call.Predictor, "run", watched)
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda file: predictor.predict([file]), files)) == expected
    assert set(most) == {1}, "a network computes for one of them at a time"
    assert predictor.predict(file for file in files if predictor.predict([file])) == [each for [each] in expected]
