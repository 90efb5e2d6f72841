"""Attacks on a registered model: each would run its code in MLflow, and none gets that far here.

Every attack is built on a copy of a model, loaded once by MLflow itself in another process to show
that it works, and then offered to Penstock: altered after it was signed, and signed as it is.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from penstock.errors import IntegrityError, ModelError, PenstockError
from penstock.registry.loading import load_model, model_digest
from penstock.registry.model_keys import KeyFiles
from penstock.registry.signing import manifest_of, sign_manifest
from penstock.registry.trust import check_release

pytestmark = pytest.mark.slow

SAFE = """\
flavors:
  lightgbm: {code: null, data: model.lgb, lgb_version: "4", model_class: lightgbm.basic.Booster}
  python_function: {data: model.lgb, env: {}, loader_module: mlflow.lightgbm}
signature:
  inputs: '[{"type": "double", "name": "visits", "required": true}]'
"""
# A model that brings its code, and is harmless.
CUSTOM = """\
flavors:
  python_function: {code: src, env: {}, loader_module: shop_loader, data: weights.pkl}
signature:
  inputs: '[{"type": "double", "name": "visits", "required": true}]'
"""
LOADER = """\
import pickle
import shop_helper
def _load_pyfunc(path):
    with open(path, "rb") as stream:
        pickle.load(stream)
    return shop_helper.Model()
"""
HELPER = """\
class Model:
    def predict(self, frame, params=None):
        return [0.5] * len(frame)
"""


class Exploit:
    """Unpickling it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (open, (str(self.mark), "w"))


def leaves(mark: Path) -> str:
    return f"open({str(mark)!r}, 'w').close()\n"


def changed_file(folder: Path, mark: Path) -> None:
    (folder / "weights.pkl").write_bytes(pickle.dumps(Exploit(mark)))


def added_file(folder: Path, mark: Path) -> None:
    """A package goes before the module of the same name, which stays as it was."""
    (folder / "src" / "shop_helper").mkdir()
    (folder / "src" / "shop_helper" / "__init__.py").write_text(leaves(mark) + HELPER)


def added_in_git(folder: Path, mark: Path) -> None:
    """OpenSSF model-signing leaves out what belongs to git, unless told otherwise."""
    (folder / ".git").mkdir()
    (folder / ".git" / "w.pkl").write_bytes(pickle.dumps(Exploit(mark)))
    edit(folder, lambda m: m["flavors"]["python_function"].update(data=".git/w.pkl"))


def swapped_manifest(folder: Path, mark: Path) -> None:
    """It names another loader, which lies among the pictures."""
    edit(folder, lambda m: m["flavors"].pop("lightgbm"))
    edit(
        folder,
        lambda m: m["flavors"]["python_function"].update(
            loader_module="plot", code="pictures", data="pictures"
        ),
    )
    (folder / "pictures").mkdir(exist_ok=True)
    (folder / "pictures" / "plot.py").write_text(leaves(mark) + "_load_pyfunc = lambda path: 1\n")


def code_directory(folder: Path, mark: Path) -> None:
    """The flavor stays the safe one; its code is imported before the model is read."""
    (folder / "code").mkdir()
    (folder / "code" / "lightgbm.py").write_text(leaves(mark))
    edit(folder, lambda m: m["flavors"]["python_function"].update(code="code"))


def pickle_inside(folder: Path, mark: Path) -> None:
    (folder / "model.pkl").write_bytes(pickle.dumps(Exploit(mark)))

    def change(manifest: dict[str, Any]) -> None:
        manifest["flavors"]["lightgbm"].update(
            data="model.pkl", model_class="lightgbm.sklearn.LGBMClassifier"
        )
        manifest["flavors"]["python_function"].update(data="model.pkl")

    edit(folder, change)


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    manifest = yaml.safe_load((folder / "MLmodel").read_text())
    change(manifest)
    (folder / "MLmodel").write_text(yaml.safe_dump(manifest))


ATTACKS: dict[str, tuple[str, Callable[[Path, Path], None], str]] = {
    # name: the model it is built on, what is done to it, why it is refused even where it is signed
    "a changed file": ("custom", changed_file, "python_function only"),
    "an added file": ("custom", added_file, "python_function only"),
    "an added file of git": ("custom", added_in_git, "python_function only"),
    "a swapped MLmodel": ("safe", swapped_manifest, "python_function only"),
    "a code directory": ("safe", code_directory, "brings its own code"),
    "a pickle inside": ("safe", pickle_inside, "holds a pickle: model.pkl"),
}

# One import of MLflow; a child for each, since what a model puts into sys.path stays there.
DIRECTLY = """
import json, os, sys
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
import mlflow.pyfunc
for name, folder in json.loads(sys.argv[1]).items():
    if not os.fork():
        try:
            mlflow.pyfunc.load_model(folder)
        except BaseException as error:
            print(name, repr(error), flush=True)
        os._exit(0)
    os.wait()
"""


class World:
    """The models as they were signed, and the same after each attack."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = KeyFiles(root / "models.key", root / "models.pub")
        self.models = {"safe": self._safe(), "custom": self._custom()}
        for name, (base, attack, _) in ATTACKS.items():
            shutil.copytree(self.models[base], self.attacked(name))
            attack(self.attacked(name), self.mark(name))

    def attacked(self, name: str) -> Path:
        return self.root / name.replace(" ", "-")

    def mark(self, name: str) -> Path:
        return self.root / f"{name}.ran"

    def sign(self, signed: Path, beside: Path) -> None:
        """Puts a signature over one folder beside another."""
        place = beside.with_name(f"{beside.name}.signed")
        place.mkdir(exist_ok=True)
        bundle = sign_manifest(manifest_of(signed), "shop", self.keys.signing_key())
        (place / "model.sig").write_bytes(bundle)

    def released(self, folder: Path, digest: str, admitted: tuple[str, ...] = ()) -> None:
        """What a gateway and its replica do with a release, one after the other."""
        check_release(folder, digest, "shop@1", self.keys.public, admitted)
        load_model(folder, digest, admitted=admitted)

    def _safe(self) -> Path:
        import lightgbm
        import numpy

        folder = self.root / "safe"
        folder.mkdir()
        (folder / "MLmodel").write_text(SAFE)
        rows = numpy.arange(40.0).reshape(-1, 1)
        data = lightgbm.Dataset(rows, rows[:, 0] > 20)
        booster = lightgbm.train({"objective": "binary", "verbose": -1}, data, 2)
        booster.save_model(folder / "model.lgb")
        return folder

    def _custom(self) -> Path:
        folder = self.root / "custom"
        (folder / "src").mkdir(parents=True)
        (folder / "MLmodel").write_text(CUSTOM)
        (folder / "weights.pkl").write_bytes(pickle.dumps([0.5]))
        (folder / "src" / "shop_loader.py").write_text(LOADER)
        (folder / "src" / "shop_helper.py").write_text(HELPER)
        return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("attacks"))


@pytest.fixture(scope="module")
def ran(world: World) -> dict[str, bool]:
    """Which attacks run where MLflow alone loads the model; each in a process of its own."""
    found: dict[str, bool] = {}
    program = [sys.executable, "-c", DIRECTLY]
    folders = json.dumps({name: str(world.attacked(name)) for name in ATTACKS})
    done = subprocess.run([*program, folders], capture_output=True, text=True, check=True)
    for name in ATTACKS:
        found[name] = world.mark(name).exists()
        world.mark(name).unlink(missing_ok=True)
    assert all(found.values()), done.stdout + done.stderr
    return found


@pytest.mark.parametrize("name", ATTACKS)
def test_after_signing_it_is_refused_and_nothing_runs(
    world: World, ran: dict[str, bool], name: str
) -> None:
    assert ran[name]  # MLflow would have run it
    base, _, _ = ATTACKS[name]
    attacked, admitted = world.attacked(name), ("pyfunc",)
    world.sign(signed=world.models[base], beside=attacked)

    # The registry still says what it said: the replica finds other bytes.
    with pytest.raises(IntegrityError, match="not the one that was recorded"):
        world.released(attacked, model_digest(world.models[base]), admitted)
    # The attacker rewrote the registry's digest as well: the signature is over another one.
    with pytest.raises(IntegrityError, match="signature of shop@1 is over other files"):
        world.released(attacked, model_digest(attacked), admitted)

    assert not world.mark(name).exists()


@pytest.mark.parametrize("name", ATTACKS)
def test_signed_it_is_refused_unless_it_was_waived(
    world: World, ran: dict[str, bool], name: str
) -> None:
    assert ran[name]
    attacked = world.attacked(name)
    world.sign(signed=attacked, beside=attacked)
    with pytest.raises(ModelError, match=ATTACKS[name][2]):
        world.released(attacked, model_digest(attacked))
    assert not world.mark(name).exists()


def test_what_is_unsigned_is_never_loaded(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(world.models["safe"], folder)
    digest = model_digest(folder)
    with pytest.raises(IntegrityError, match=r"shop@1 is not signed.*penstock models sign shop@1"):
        world.released(folder, digest)

    stranger = KeyFiles(tmp_path / "k", tmp_path / "p").signing_key()
    place = tmp_path / "model.signed"
    place.mkdir()
    (place / "model.sig").write_bytes(sign_manifest(manifest_of(folder), "shop", stranger))
    with pytest.raises(IntegrityError, match="not signed by a trusted key"):
        world.released(folder, digest)

    world.sign(signed=folder, beside=folder)
    world.released(folder, digest)


def test_a_file_that_is_exchanged_while_it_is_checked_is_not_the_one_that_is_loaded(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded are the bytes that were hashed, not the file as it lies there afterwards."""
    folder = tmp_path / "model"
    shutil.copytree(world.models["safe"], folder)
    digest = model_digest(folder)
    from penstock.registry import model_folder

    hashed = model_folder.digest_of_files

    def exchange(manifest: dict[str, str]) -> str:
        (folder / "MLmodel").write_text(CUSTOM)
        (folder / "model.lgb").write_bytes(b"something else")
        return hashed(manifest)

    monkeypatch.setattr(model_folder, "digest_of_files", exchange)
    assert load_model(folder, digest).flavor == "lightgbm"


def test_without_signatures_no_code_is_admitted(world: World) -> None:
    with pytest.raises(PenstockError, match="signatures are switched off"):
        check_release(world.models["custom"], "0" * 64, "shop@1", None, ("pyfunc",))
