"""An example competition: three classes, four test images, predictions for them, and samples of every format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from comp.data.scan import Dataset, Image
from comp.records.submission import Competition, SubmissionManifest
from comp.tasks import single_label

CLASSES, NUMBERS = ("mono", "baso", "eos"), (2, 7, 10)
IMAGES = ("img_1.jpg", "img_2.jpg", "img_10.jpg", "img_11.jpg")
PREDICTED = (0, 2, 1, 2)  # the class index of each image
PREDICTIONS = pd.DataFrame(np.where(np.arange(3) == np.array(PREDICTED)[:, None], 0.5, 0.25), IMAGES, list(CLASSES))
LEDGER = Path("submissions/ledger.csv")
MANIFEST = SubmissionManifest(competition=Competition("cells", "input/cells", str(LEDGER)))
# samples that contain our own predictions: filling them must give the same bytes
NAMES = "image,label\nimg_10.jpg,baso\nimg_1.jpg,mono\nimg_2.jpg,eos\nimg_11.jpg,eos\n"
PROBABILITIES = "img,eos,mono,baso\nimg_11,0.5,0.25,0.25\nimg_1,0.25,0.5,0.25\n"
SAMPLES = {
    "names.csv": NAMES,
    "numbers of the class map.csv": "id,target\nimg_10.jpg,7\nimg_1.jpg,2\nimg_2.jpg,10\nimg_11.jpg,10\n",
    "ids without extension.csv": "Id,Category\nimg_2,10\nimg_11,10\nimg_1,2\n",
    "a probability per name.csv": PROBABILITIES,
    "a probability per number.csv": "img,10,2,7\nimg_11,0.5,0.25,0.25\nimg_1,0.25,0.5,0.25\n",
    "numbers of the rows.csv": ",image,label\n0,img_10.jpg,baso\n1,img_1.jpg,mono\n2,img_2.jpg,eos\n",
    "numbers of the rows under a name.csv": "index,image,label\n1,img_10.jpg,baso\n2,img_1.jpg,mono\n",
    "Windows newlines.csv": NAMES.replace("\n", "\r\n"),
    "a byte order mark.csv": "\ufeff" + PROBABILITIES,
    "Windows newlines and a byte order mark.csv": "\ufeff" + NAMES.replace("\n", "\r\n"),
    "map of names.json": json.dumps({"img_10.jpg": "baso", "img_1.jpg": "mono"}, indent=1),
    "map of numbers.json": json.dumps({"img_10": 7, "img_1": 2}, indent=1),
    "map of numbers as text.json": json.dumps({"img_10": "7", "img_1": "2"}, indent=1),
    "records of names.json": json.dumps([{"id": "img_10", "label": "baso"}, {"id": "img_2", "label": "eos"}], indent=1),
    "records of numbers.json": json.dumps([{"id": "img_10", "label": 7}, {"id": "img_2", "label": 10}], indent=1),
    "records of probabilities.json": json.dumps([{"id": "img_2", "eos": 0.5, "baso": 0.25, "mono": 0.25}], indent=1),
}


def make_dataset(root: Path = Path("input/cells"), images=IMAGES, classes=CLASSES, numbers=NUMBERS) -> Dataset:
    """Return the dataset of the example; no file of it exists."""
    return Dataset(
        root, single_label(classes), numbers, (), tuple(Image(id, root / "test" / id) for id in images), "name"
    )
