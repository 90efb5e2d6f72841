"""Notes and checkpoints as C2SP has them; keys as golang.org/x/mod/sumdb/note writes them."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.audit.anchors import anchors_of
from penstock.audit.notes import (
    Checkpoint,
    NoteError,
    SigningKey,
    VerifyingKey,
    read_checkpoint,
    signed_note,
    unverified_checkpoint,
)
from penstock.audit.signing_keys import LedgerKeys, read_keys
from penstock.errors import SettingsError
from penstock.registry.model_keys import KeyFiles

KEY = SigningKey("shop.example/ledger", bytes(range(32)))
OTHER = SigningKey("shop.example/ledger", bytes(32))
CHECKPOINT = Checkpoint(KEY.name, 20852163, b"\x2a" * 32)
NOTE = signed_note(CHECKPOINT, KEY)

# The example of golang.org/x/mod/sumdb/note.
PUBLIC = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNATURE = (
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
)


def test_the_published_example_of_a_note() -> None:
    import base64

    private, public = SigningKey.parse(PRIVATE), VerifyingKey.parse(PUBLIC)
    assert private.verifying == public
    assert (str(public), private.secret_text()) == (PUBLIC, PRIVATE)
    signature = public.id + private.sign(TEXT.encode())
    assert base64.b64encode(signature).decode() == SIGNATURE
    assert public.signed(signature[4:], TEXT.encode())


def test_a_checkpoint_is_three_lines_and_a_signature() -> None:
    text, _, signature = NOTE.partition("\n\n")
    assert text.split("\n") == [
        KEY.name,
        "20852163",
        "KioqKioqKioqKioqKioqKioqKioqKioqKioqKioqKio=",
    ]
    assert signature.startswith(f"— {KEY.name} ")
    assert read_checkpoint(NOTE, [OTHER.verifying, KEY.verifying]) == CHECKPOINT


def test_every_single_bit_counts() -> None:
    data = NOTE.encode()
    for bit in range(len(data) * 8):
        changed = (int.from_bytes(data) ^ 1 << bit).to_bytes(len(data))
        with pytest.raises(NoteError):
            read_checkpoint(changed.decode(errors="surrogateescape"), [KEY.verifying])


def test_signatures_of_others_are_passed_over_but_never_enough() -> None:
    both = NOTE + signed_note(CHECKPOINT, OTHER).rpartition("\n\n")[2]
    assert read_checkpoint(both, [KEY.verifying]) == CHECKPOINT
    with pytest.raises(NoteError, match="no key that is trusted"):
        read_checkpoint(signed_note(CHECKPOINT, OTHER), [KEY.verifying])
    with pytest.raises(NoteError, match="no key that is trusted"):
        read_checkpoint(NOTE, [])


def test_a_wrong_signature_of_a_known_key_spoils_the_note() -> None:
    other_text = signed_note(Checkpoint(KEY.name, 1, b"\x00" * 32), KEY)
    spoilt = NOTE + other_text.rpartition("\n\n")[2]
    with pytest.raises(NoteError, match="not of this text"):
        read_checkpoint(spoilt, [KEY.verifying])


@pytest.mark.parametrize(
    "text",
    ["o\n1\n", "o\n01\n{root}\n", "o\n-1\n{root}\n", "o\n1\nAAAA\n", "\n1\n{root}\n", "o\n1\n\n"],
    ids=repr,
)
def test_what_is_signed_but_no_checkpoint_is_refused(text: str) -> None:
    text = text.format(root=NOTE.split("\n")[2])
    signature = NOTE.rpartition("\n\n")[2]
    with pytest.raises(NoteError):
        unverified_checkpoint(f"{text}\n{signature}")


@given(st.text())
def test_any_other_text_is_no_note(text: str) -> None:
    with pytest.raises(NoteError):
        read_checkpoint(text, [KEY.verifying])


@pytest.mark.parametrize(
    "text", ["", "a", "a+b", "a+00000000+", PUBLIC[:-1], PUBLIC.replace("c7", "c8"), f" {PUBLIC}"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        VerifyingKey.parse(text)


def test_a_private_key_is_never_shown() -> None:
    assert KEY.secret_text() not in repr(KEY)
    with pytest.raises(NoteError) as refused:
        SigningKey.parse(PRIVATE.replace("c74f20a3", "c74f20a4"))
    assert "AYEK" not in str(refused.value)


class TestKeyFiles:
    @pytest.fixture
    def keys(self, tmp_path: Path) -> LedgerKeys:
        return LedgerKeys(tmp_path / "keys" / "ledger.key", tmp_path / "ledger.pub")

    def test_the_private_key_is_for_its_owner_only(self, keys: LedgerKeys) -> None:
        made = keys.new("shop")
        assert stat.S_IMODE(keys.private.stat().st_mode) == 0o600
        assert stat.S_IMODE(keys.private.parent.stat().st_mode) == 0o700
        assert keys.signing_key() == made
        assert keys.trusted() == (made.verifying,)

    def test_what_an_older_key_signed_stays_verified(self, keys: LedgerKeys) -> None:
        older = keys.new("shop")
        newer = keys.new("ignored: the name of a log stays")
        assert keys.signing_key() == newer != older
        assert newer.name == "shop"
        assert keys.trusted() == (older.verifying, newer.verifying)
        (kept,) = keys.private.parent.glob("ledger.key.*")
        assert SigningKey.parse(kept.read_text().strip()) == older

    def test_without_a_key_it_is_told_what_to_do(self, keys: LedgerKeys) -> None:
        assert keys.trusted() == ()
        with pytest.raises(SettingsError, match=r"ledger\.key is missing") as told:
            keys.signing_key()
        assert "penstock audit key --new" in told.value.hint

    def test_a_key_that_nobody_trusts_signs_nothing(self, keys: LedgerKeys) -> None:
        keys.new("shop")
        keys.public.write_text(f"{OTHER.verifying}\n")
        with pytest.raises(SettingsError, match=r"ledger\.pub does not name"):
            keys.signing_key()

    @pytest.mark.parametrize("text", ["", "\n", "no key\n", PUBLIC[:-2] + "\n"])
    def test_a_file_of_something_else_is_refused(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "x.pub").write_text(text)
        with pytest.raises(SettingsError, match=r"x\.pub"):
            read_keys(tmp_path / "x.pub")


def test_settings_name_files_from_the_home_folder(
    make_project: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    names = '[audit]\nsigning_key = "~/keys/ledger.key"\nanchors = ["~/notes"]\n'
    names += '[registry]\nsigning_key = "~/keys/models.key"\npublic_key = "models.pub"\n'
    project = make_project(**{"penstock.toml": '[project]\nname = "shop"\n' + names})
    assert LedgerKeys.of(project).private == tmp_path / "keys/ledger.key"
    assert KeyFiles.of(project).private == tmp_path / "keys/models.key"
    assert KeyFiles.of(project).public == project.root / "models.pub"
    (anchor,) = anchors_of(project)
    anchor.keep(Checkpoint("shop", 1, bytes(32)), "a note\n")
    assert [one.name for one in (tmp_path / "notes").iterdir()] == ["shop.000000000001.note"]
    with pytest.raises(SettingsError, match="~nobody-at-all"):
        project.place("~nobody-at-all/keys")
