"""What it costs to know that a model is the one that was signed."""

from __future__ import annotations

import hashlib
import os
import tempfile
import time
from pathlib import Path

from side_by_side import Row, compare

from penstock.registry.model_folder import model_digest
from penstock.registry.model_keys import KeyFiles
from penstock.registry.signing import manifest_of, sign_manifest, signed_digest

SIZE = 100 * 2**20  # bytes of the model
AIM = 1.5
PAIRS = 9


def signature_rows() -> list[Row]:
    """The check of a 100 MB model's signature against plain SHA-256 of the same bytes."""
    with tempfile.TemporaryDirectory() as desk:
        folder = Path(desk) / "model"
        folder.mkdir()
        (folder / "MLmodel").write_text("flavors: {}\n")
        (folder / "model.lgb").write_bytes(os.urandom(SIZE))
        files = KeyFiles(Path(desk) / "models.key", Path(desk) / "models.pub")
        bundle = sign_manifest(manifest_of(folder), "model", files.signing_key())

        def checked() -> float:
            begun = time.perf_counter()
            keys = files.trusted()  # read from the disk, as for each release
            assert signed_digest(bundle, keys) == model_digest(folder)
            return time.perf_counter() - begun

        def hashed() -> float:
            begun = time.perf_counter()
            with (folder / "model.lgb").open("rb") as stream:
                hashlib.file_digest(stream, "sha256").hexdigest()
            return time.perf_counter() - begun

        work = "signature check of a 100 MB model vs SHA-256 of it"
        return [compare(work, checked, hashed, aim=AIM, pairs=PAIRS)]


if __name__ == "__main__":
    signature_rows()
