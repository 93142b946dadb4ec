"""Write small DICOM files, valid ones and others."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")

EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
DEFLATED, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5"
JPEG_BASELINE, JPEG_LOSSLESS, JPEG_LS = (f"1.2.840.10008.1.2.4.{number}" for number in (50, 70, 80))
JPEG_2000 = "1.2.840.10008.1.2.4.90"


def dicom_bytes(values: np.ndarray, syntax: str = EXPLICIT, encoded: bytes | None = None, **elements: Any) -> bytes:
    """Return a DICOM file of an image; `elements` are added or replace others, and None removes one."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID = "1.2.3"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 3 if values.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    if values.ndim == 3:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    order = ">" if syntax == BIG_ENDIAN else "<"
    dataset.PixelData = encapsulate([encoded]) if encoded else values.astype(values.dtype.newbyteorder(order)).tobytes()
    dataset["PixelData"].VR = "OW" if values.dtype.itemsize > 1 else "OB"
    if encoded:
        dataset["PixelData"].is_undefined_length = True
    for name, value in elements.items():
        delattr(dataset, name) if value is None else setattr(dataset, name, value)
    if syntax == RLE and encoded is None:
        dataset.file_meta.TransferSyntaxUID = UID(EXPLICIT)
        dataset.compress(UID(RLE))
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def save_dicom(path: Path, values: np.ndarray, *arguments: Any, **elements: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dicom_bytes(values, *arguments, **elements))
    return path
