"""`penstock compliance …` as a user types it, and the bundle as an auditor verifies it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pypdf import PdfReader
from regulated import Regulated

from penstock.access.administration import add, change_role
from penstock.access.roles import Role
from penstock.audit.dsse import sign, to_document
from penstock.audit.ledger import Actor, present_actor
from penstock.audit.signing_keys import LedgerKeys
from penstock.cli.main import run
from penstock.compliance.access import access_report
from penstock.compliance.evidence import sha256
from penstock.compliance.forms import as_markdown
from penstock.compliance.verify_bundle import KIND, MANIFEST, SIGNED, archived, verify
from penstock.project import open_project
from penstock.state.database import open_database

pytestmark = pytest.mark.slow

HIDDEN = """\
import runpy, sys
sys.modules["penstock"], sys.argv = None, sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
Penstock = Callable[..., tuple[int, Any]]
POINTS = (
    "1 General description",
    "2 Elements and development",
    "3 Monitoring, functioning and control",
    "4 Appropriateness of the performance metrics",
    "5 Risk management system",
    "6 Changes through the lifecycle",
    "7 Harmonised standards",
    "8 EU declaration of conformity",
    "9 Performance after placing on the market",
)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Regulated]:
    made = Regulated(tmp_path_factory.mktemp("regulated") / "shop")
    yield made
    made.engine.dispose()


@pytest.fixture
def penstock(shop: Regulated, capsys: pytest.CaptureFixture[str]) -> Penstock:
    """(exit status, what --json printed; or what was said to people)"""

    def type_(*words: str, as_json: bool = True) -> tuple[int, Any]:
        capsys.readouterr()
        more = ["--json"] if as_json else []
        status = run(["compliance", *words, "--project", str(shop.root), *more])
        printed = capsys.readouterr()
        return status, json.loads(printed.out) if as_json else printed.out + printed.err

    return type_


@pytest.fixture(scope="module")
def bundle(shop: Regulated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("bundle") / "evidence.zip"
    words = ["compliance", "bundle", "shop@2", "--out", str(file), "--project", str(shop.root)]
    assert run(words) == 0
    return file


@pytest.fixture(scope="module")
def contents(bundle: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(bundle) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


class TestTechnicalFile:
    def test_it_has_nine_points_in_both_forms(self, penstock: Penstock, tmp_path: Path) -> None:
        page, pdf = tmp_path / "a.html", tmp_path / "a.pdf"
        status, told = penstock("annex-iv", "shop@1", "--out", str(page), "--out", str(pdf))
        assert (status, told["files"]) == (0, [str(page), str(pdf)])
        read = PdfReader(pdf)
        titles = [one.title for one in read.outline if not isinstance(one, list)]
        assert [" ".join(title.split()) for title in titles[:9]] == list(POINTS)
        text = page.read_text()
        assert all(f">{point[2:]}</h2>" in text for point in POINTS)
        assert "&lt;b&gt;not&lt;/b&gt;" in text
        assert "Jane Okafor answers for this" in text

    def test_what_nobody_said_is_missing_and_what_somebody_said_is_not(
        self, penstock: Penstock
    ) -> None:
        _, told = penstock("card", "shop@1")
        gaps = {gap["what"]: gap["todo"] for gap in told["missing"]}
        assert "Intended purpose" not in gaps
        assert gaps["Human oversight"].startswith("write human_oversight in compliance.yaml")
        _, told = penstock("card", "shop@2")
        assert (
            "penstock models approve"
            in {g["what"]: g["todo"] for g in told["missing"]}["May serve production"]
        )

    def test_every_statement_is_proven_and_put_on_record_once(
        self, shop: Regulated, penstock: Penstock
    ) -> None:
        _, first = penstock("card", "shop@1")
        _, again = penstock("card", "shop@1")
        assert first["document"]["evidence"] == again["document"]["evidence"]
        for one in first["document"]["evidence"]:
            assert one["proof"]["signed"]
            assert len(one["digest"]) == 64

    def test_a_changed_field_has_another_digest_and_is_put_on_record_anew(
        self, shop: Regulated, penstock: Penstock
    ) -> None:
        owned = shop.root / "compliance.yaml"
        before = owned.read_text()
        first = penstock("card", "shop@1")[1]["document"]
        owned.write_text(before.replace("never refuses", "must not refuse"))
        second = penstock("card", "shop@1")[1]["document"]
        owned.write_text(before)
        third = penstock("card", "shop@1")[1]["document"]
        digests = [_field(one, "Intended purpose")["digest"] for one in (first, second, third)]
        assert digests[0] == digests[2] != digests[1]
        recorded = [dict(one["head"])["On record"].split()[-1] for one in (first, second, third)]
        assert recorded == sorted(set(recorded), key=int)

    def test_a_file_that_is_wrong_is_told(self, shop: Regulated, penstock: Penstock) -> None:
        assert penstock("annex-iv", "--template")[0] == 2  # init has made it
        assert penstock("annex-iv")[0] == 2  # of which version?
        assert penstock("annex-iv", "shop@9")[0] == 1
        assert penstock("change", "shop@1", "shop@1")[0] == 2
        owned = shop.root / "compliance.yaml"
        before = owned.read_text()
        owned.write_text(before.replace("2027-05-31", "soon"))
        status, told = penstock("inventory")
        owned.write_text(before)
        assert (status, "no date" in told["message"]) == (2, True)


def _field(document: dict[str, Any], label: str) -> dict[str, Any]:
    blocks = [block for section in document["sections"] for block in section["blocks"]]
    return next(dict(block) for block in blocks if block.get("label") == label)


class TestBundle:
    def test_it_is_verified_without_penstock(
        self, shop: Regulated, bundle: Path, contents: dict[str, bytes], tmp_path: Path
    ) -> None:
        (tmp_path / "verify.py").write_bytes(contents["verify.py"])
        command = [sys.executable, "-I", "verify.py", str(bundle), "--key"]

        def told(key: Path) -> tuple[int, str]:
            # Nothing of Penstock can be imported: not from the path, not as it is installed.
            hide = (
                "import sys; sys.modules['penstock'] = None; import runpy; sys.argv = sys.argv[1:]"
            )
            code = f"{hide}; runpy.run_path(sys.argv[0], run_name='__main__')"
            words = [*command[:2], "-c", code, *command[2:], str(key)]
            done = subprocess.run(
                words, cwd=tmp_path, capture_output=True, text=True, check=False, env={}
            )
            assert not done.stderr
            return done.returncode, done.stdout

        status, said = told(shop.root / "ledger.pub")
        assert (status, "✗" in said) == (0, False)
        assert "model.sig is signed by a key of models.pub" in said
        other = tmp_path / "other.pub"
        other.write_text("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n")
        status, said = told(other)
        assert (status, "no key that you trust has signed it" in said) == (1, True)

    def test_the_same_facts_give_the_same_bytes(
        self, shop: Regulated, bundle: Path, tmp_path: Path
    ) -> None:
        again = tmp_path / "again.zip"
        words = ["compliance", "bundle", "shop@2", "--out", str(again)]
        assert run([*words, "--project", str(shop.root)]) == 0
        assert again.read_bytes() == bundle.read_bytes()

    def test_one_byte_of_any_file_is_found_and_named(
        self, shop: Regulated, contents: dict[str, bytes]
    ) -> None:
        keys = (shop.root / "ledger.pub").read_text()
        assert verify(archived(contents), keys)[0] == []
        for name, content in contents.items():
            for place in {0, len(content) // 2, len(content) - 1}:
                changed = bytearray(content)
                changed[place] ^= 1
                wrong, _ = verify(archived({**contents, name: bytes(changed)}), keys)
                assert any(line.startswith(f"{name}:") for line in wrong) or (
                    # of a signed note or envelope, any byte may spoil the reading of all
                    name in ("manifest.dsse.json", "ledger/checkpoint.note") and wrong
                ), (name, place, wrong)

    def test_files_that_come_and_go_are_found(
        self, shop: Regulated, contents: dict[str, bytes], bundle: Path
    ) -> None:
        keys = (shop.root / "ledger.pub").read_text()
        for name in contents:
            rest = {other: content for other, content in contents.items() if other != name}
            wrong, _ = verify(archived(rest), keys)
            assert any(name in line for line in wrong), name
        wrong, _ = verify(archived({**contents, "more.txt": b""}), keys)
        assert wrong == ["more.txt: the manifest does not name it"]
        archive = bundle.read_bytes()
        assert verify(archive + b"\0", keys)[0]
        assert verify(b"no archive", keys)[0]
        assert verify(archive, "no key")[0]

    def test_every_byte_of_the_archive_counts(
        self, shop: Regulated, bundle: Path, contents: dict[str, bytes]
    ) -> None:
        """Names, times and lengths too: of the directory at the end, and some of all the rest."""
        keys, archive = (shop.root / "ledger.pub").read_text(), bundle.read_bytes()
        end = len(archive) - sum(46 + len(name) for name in contents) - 22
        for place in (*range(0, end, end // 50), *range(end, len(archive), 7)):
            changed = bytearray(archive)
            changed[place] ^= 0x10
            assert verify(bytes(changed), keys)[0], place

    def test_the_command_verifies_it_too(
        self, shop: Regulated, bundle: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        key = str(shop.root / "ledger.pub")
        assert run(["audit", "verify", "--bundle", str(bundle), "--key", key]) == 0
        assert "pieces of evidence are named by entry" in capsys.readouterr().out
        assert run(["audit", "verify", "--bundle", str(bundle), "--key", key, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["holds"]

    def test_evidence_from_another_place_is_not_signed_for(
        self, shop: Regulated, contents: dict[str, bytes]
    ) -> None:
        """A manifest signed by the key itself does not help: the ledger names other evidence."""

        key = LedgerKeys.of(shop.project).signing_key()
        forged = {**contents, "records/evaluation.json": b"{}"}
        told = json.loads(contents[MANIFEST])
        told["files"]["records/evaluation.json"] = sha256(b"{}")
        forged[MANIFEST] = json.dumps(told).encode()
        envelope = to_document(sign(KIND, forged[MANIFEST], key.sign))
        forged[SIGNED] = json.dumps(envelope).encode()
        wrong, _ = verify(archived(forged), (shop.root / "ledger.pub").read_text())
        (line,) = wrong
        assert line.startswith("records/evaluation.json: it is not the one that entry")

    def test_without_the_private_key_nothing_is_bundled(
        self, shop: Regulated, penstock: Penstock, tmp_path: Path
    ) -> None:
        private = shop.root / ".penstock/keys/ledger.key"
        away = private.rename(tmp_path / "ledger.key")
        try:
            status, told = penstock("bundle", "shop@1", "--out", str(tmp_path / "x.zip"))
            assert (status, told["error"]) == (2, "SettingsError")
            assert penstock("card", "shop@1")[0] == 0
        finally:
            away.rename(private)


class TestReports:
    def test_what_changed_between_two_versions(self, penstock: Penstock) -> None:
        status, told = penstock("change", "shop@1", "shop@2")
        assert status == 0
        tables = {
            (section["title"], row[0]): row[1:]
            for section in told["document"]["sections"]
            for block in section["blocks"]
            for row in block.get("rows", [])
        }
        assert tables["Data", "rows of the dataset"] == ["40", "30 (-10)"]
        assert tables["Data", "rows removed"] == ["10"]
        assert tables["Parameters", "trees"] == ["3", "6"]
        assert tables["Settings", "gates.model.auc_roc.value"] == ["0.81", "0.82"]
        assert tables["Metrics", "auc_roc"] == ["0.91", "0.92", "shop@2"]
        assert tables["Gates", "auc_roc"] == [">= 0.81", "0.91", ">= 0.82", "0.91"]
        _, text = penstock("change", "shop@1", "shop@2", as_json=False)
        assert "champion, with its 95 % interval -0.0040 to +0.0240" in text
        assert "**MISSING** Of shop@2: penstock models approve shop@2" in text

    def test_who_approved_what(self, penstock: Penstock) -> None:
        status, told = penstock("access")
        assert status == 0
        sections = {one["title"]: one["blocks"] for one in told["document"]["sections"]}
        (approval,) = sections["Approvals and rejections"][0]["rows"]
        assert approval[4:] == ["approved", "shop@1", "production", "tested"]
        assert sections["Users"][0]["label"] == "No users yet"
        _, text = penstock("access", "--since", "2030-01-01T00:00:00Z", as_json=False)
        assert "No version was judged." in text

    def test_who_may_do_what(self, tmp_path: Path) -> None:
        root, now = tmp_path / "users", datetime.now(UTC)
        assert run(["init", str(root), "--template", "blank"]) == 0
        project = open_project(root, "dev")
        engine, root_user = open_database(project), present_actor()
        add(engine, "ann", Role.ADMIN, by=root_user, name="Ann Lee", email="ann@example.org")
        ann = Actor("ann", authenticated="token")
        add(engine, "bob", Role.VIEWER, by=ann, expires=timedelta(days=1))
        change_role(engine, "bob", Role.APPROVER, by=ann, reason="replaces Carla")
        report = access_report(project, engine, now + timedelta(days=2))
        users, tokens = (block.rows for block in report.sections[0].blocks)
        assert [row[:3] for row in users] == [("ann", "Ann Lee", "admin"), ("bob", "", "approver")]
        assert (users[1][4], users[1][-1]) == ("viewer", "not in this period")
        assert [(row[1], row[-1]) for row in tokens] == [("ann", "never"), ("bob", "HAS EXPIRED")]
        changes = report.sections[-1].blocks[0]
        assert changes.rows[-1][-1] == "replaces Carla"
        assert "ann@example.org" not in as_markdown(report).decode()

    def test_the_inventory(self, penstock: Penstock) -> None:
        _, lines = penstock("inventory")
        assert [(line["model"], line["risk_class"], line["owner"]) for line in lines] == [
            ("shop@2", "high", "Jane Okafor"),
            ("shop@1", "high", "Jane Okafor"),
        ]
        assert [bool(line["approved"]) for line in lines] == [False, True]
        _, text = penstock("inventory", "--csv", as_json=False)
        rows = list(csv.DictReader(io.StringIO(text)))
        assert [row["next_review"] for row in rows] == ["2027-05-31"] * 2
        _, text = penstock("inventory", as_json=False)
        assert "MISSING" not in text
