"""Signatures of models and statements about them: against published vectors and other tools."""

from __future__ import annotations

import base64
import json
import stat
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.audit import dsse
from penstock.digests import digest_of_files, folder_digest
from penstock.errors import IntegrityError, SettingsError
from penstock.records import Column
from penstock.registry.bom import bill_of_materials, validated
from penstock.registry.model_keys import KeyFiles, SigningKey
from penstock.registry.provenance import Build, signed, statement, verified
from penstock.registry.signing import (
    manifest_of,
    root_digest,
    sign_manifest,
    signed_digest,
    signed_manifest,
)

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
MANIFEST = {"MLmodel": "11" * 32, "data/model.lgb": "22" * 32, "data.txt": "33" * 32}
BUILD = Build(
    model="churn",
    digest=digest_of_files(MANIFEST),
    flavor="lightgbm",
    features=(Column(name="age", type="int64"), Column(name="plan", type="string")),
    digests={"dataset": "44" * 32, "training_set": "55" * 32, "code": "66" * 32},
    dataset="events",
    dataset_md5="77" * 16,
    params={"num_leaves": 31, "learning_rate": float("nan")},
    metrics={"auc_roc": 0.87, "brier": float("inf")},
    seed=42,
    environment="# Python 3.11\nnumpy==2.3.1\nNumPy==2.3.1\ntorch==2.13.0+cpu\nnot a package\n",
    as_of=AT,
    commit="88" * 20,
    run_id="r-1",
    mlflow_run_id="m-1",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> KeyFiles:
    folder = tmp_path_factory.mktemp("keys")
    return KeyFiles(folder / "secret" / "models.key", folder / "models.pub")


@pytest.fixture(scope="module")
def key(files: KeyFiles) -> SigningKey:
    return files.signing_key()


# DSSE


def test_the_published_example_of_dsse_verifies() -> None:
    """protocol.md of DSSE 1.0.2, "Test Vectors": ECDSA P-256, r and s side by side."""
    envelope = dsse.from_document(
        {
            "payload": "aGVsbG8gd29ybGQ=",
            "payloadType": "http://example.com/HelloWorld",
            "signatures": [
                {
                    "sig": "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIA"
                    "riEGAHTVeCUjW2JIZA=="
                }
            ],
        }
    )
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()

    def verify(message: bytes, signature: bytes) -> bool:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.hashes import SHA256

        r, s = (int.from_bytes(half) for half in (signature[:32], signature[32:]))
        try:
            public.verify(encode_dss_signature(r, s), message, ec.ECDSA(SHA256()))
        except InvalidSignature:
            return False
        return True

    assert envelope.payload == b"hello world"
    assert dsse.pae(envelope.payload_type, envelope.payload) == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert dsse.signers(envelope, {"example": verify}) == {"example"}
    altered = dsse.Envelope(envelope.payload_type, b"hello World", envelope.signatures)
    assert dsse.signers(altered, {"example": verify}) == frozenset()


@pytest.mark.parametrize("document", [None, [], {}, {"payload": "!", "payloadType": "a"}, "text"])
def test_what_is_no_envelope_is_refused(document: Any) -> None:
    with pytest.raises(IntegrityError, match="no DSSE envelope"):
        dsse.from_document(document)


def test_securesystemslib_verifies_our_envelopes(key: SigningKey) -> None:
    from securesystemslib.dsse import Envelope
    from securesystemslib.signer import SSlibKey

    document = json.loads(signed(statement(BUILD, MANIFEST, "99" * 32, AT), key))
    theirs = Envelope.from_dict(document)
    known = SSlibKey(
        key.public.fingerprint,
        "ecdsa",
        "ecdsa-sha2-nistp256",
        {"public": key.public.pem.decode()},
    )
    assert theirs.verify([known], 1) == {known.keyid: known}


# Keys


def test_the_private_key_is_for_its_owner_and_made_once(files: KeyFiles, key: SigningKey) -> None:
    assert stat.S_IMODE(files.private.stat().st_mode) == 0o600
    assert files.signing_key().public.fingerprint == key.public.fingerprint
    assert str(key.private.private_numbers().private_value) not in repr(key)


def test_what_an_older_key_signed_stays_trusted(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path / "models.key", tmp_path / "models.pub")
    first = files.signing_key()
    old = sign_manifest(MANIFEST, "m", first)

    second = files.new()

    assert [one.fingerprint for one in files.trusted()] == [
        first.public.fingerprint,
        second.public.fingerprint,
    ]
    assert files.signing_key().public.fingerprint == second.public.fingerprint
    assert signed_manifest(old, files.trusted())[1].fingerprint == first.public.fingerprint


def test_a_key_that_is_missing_or_not_trusted_is_never_replaced_in_silence(tmp_path: Path) -> None:
    files = KeyFiles(tmp_path / "models.key", tmp_path / "models.pub")
    files.signing_key()
    public = files.public.read_bytes()

    files.private.rename(tmp_path / "away")
    with pytest.raises(SettingsError, match="is missing, the key that signs models") as missing:
        files.signing_key()
    assert "models key --new" in missing.value.hint

    KeyFiles(files.private, tmp_path / "other.pub").new()
    with pytest.raises(SettingsError, match=r"models\.pub does not name"):
        files.signing_key()
    assert files.public.read_bytes() == public


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    files = KeyFiles(tmp_path / "models.key", tmp_path / "models.pub")
    edwards = Ed25519PrivateKey.generate()
    plain = s.NoEncryption()
    files.private.write_bytes(edwards.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, plain))
    with pytest.raises(SettingsError, match="another kind of key than EC P-256"):
        files.signing_key()
    files.private.write_text("rubbish")
    with pytest.raises(SettingsError, match="no private key in PEM form"):
        files.signing_key()
    files.public.write_text("rubbish")
    with pytest.raises(SettingsError, match="no public key in PEM form"):
        files.trusted()


# Signatures


@settings(max_examples=40)
@given(
    st.dictionaries(
        st.lists(st.sampled_from("ab.-Z0 é"), min_size=1, max_size=3)
        .map("".join)
        .filter(lambda name: name.strip(".") != ""),
        st.binary(max_size=3) | st.dictionaries(st.sampled_from("ab-"), st.binary(max_size=2)),
        max_size=4,
    )
)
def test_the_manifest_and_the_folder_have_one_digest(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[str, Any]
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    for name, content in tree.items():
        if isinstance(content, dict):
            (folder / name).mkdir()
            for inner, data in content.items():
                (folder / name / inner).write_bytes(data)
        else:
            (folder / name).write_bytes(content)

    assert digest_of_files(manifest_of(folder)) == folder_digest(folder)


def altered(bundle: bytes, change: Callable[[dict[str, Any]], Any], key: SigningKey) -> bytes:
    """The bundle with another statement in it, signed all the same."""
    document = json.loads(bundle)
    said = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    change(said)
    envelope = dsse.sign(dsse.IN_TOTO, json.dumps(said).encode(), key.sign)
    return json.dumps(document | {"dsseEnvelope": dsse.to_document(envelope)}).encode()


PREDICATE = "predicate"
UNTRUE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "paths are left out": (
        lambda s: s[PREDICATE]["serialization"].update(ignore_paths=["code"]),
        "does not cover every file",
    ),
    "links are allowed": (
        lambda s: s[PREDICATE]["serialization"].update(allow_symlinks=True),
        "does not cover every file",
    ),
    "shards": (
        lambda s: s[PREDICATE]["serialization"].update(method="shards"),
        "does not cover every file",
    ),
    "a weak hash": (
        lambda s: s[PREDICATE]["resources"][0].update(algorithm="md5"),
        "does not cover every file",
    ),
    "a file twice": (
        lambda s: s[PREDICATE]["resources"].append(s[PREDICATE]["resources"][0]),
        "contradicts itself",
    ),
    "another root": (
        lambda s: s["subject"][0]["digest"].update(sha256="00" * 32),
        "contradicts itself",
    ),
    "two subjects": (lambda s: s["subject"].append(s["subject"][0]), "cannot be read"),
    "the format before 1.0": (
        lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"),
        "what is signed is a https://model_signing/Digests",
    ),
    "no files": (lambda s: s[PREDICATE].pop("resources"), "cannot be read"),
}


@pytest.mark.parametrize("case", UNTRUE)
def test_even_signed_a_statement_must_cover_every_file(key: SigningKey, case: str) -> None:
    change, said = UNTRUE[case]
    bundle = altered(sign_manifest(MANIFEST, "m", key), change, key)
    with pytest.raises(IntegrityError, match=said):
        signed_digest(bundle, [key.public])


def test_a_signature_by_another_or_over_other_bytes_is_refused(
    key: SigningKey, tmp_path: Path
) -> None:
    stranger = KeyFiles(tmp_path / "k", tmp_path / "p").signing_key()
    with pytest.raises(IntegrityError, match="not signed by a trusted key"):
        signed_digest(sign_manifest(MANIFEST, "m", stranger), [key.public])

    bundle = json.loads(sign_manifest(MANIFEST, "m", key))
    payload = base64.b64decode(bundle["dsseEnvelope"]["payload"])
    for position in range(0, len(payload), 37):
        broken = bytearray(payload)
        broken[position] ^= 1
        bundle["dsseEnvelope"]["payload"] = base64.b64encode(broken).decode()
        with pytest.raises(IntegrityError, match="not signed by a trusted key"):
            signed_digest(json.dumps(bundle).encode(), [key.public])
    for rubbish in (b"", b"[]", b"{}", b"\xff"):
        with pytest.raises(IntegrityError, match="cannot be read"):
            signed_digest(rubbish, [key.public])


# What is said of a model


def test_the_provenance_is_one_by_the_standards_own_library(key: SigningKey) -> None:
    from google.protobuf.json_format import ParseDict
    from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
    from in_toto_attestation.v1.resource_descriptor import ResourceDescriptor
    from in_toto_attestation.v1.statement import Statement
    from in_toto_attestation.v1.statement_pb2 import Statement as Outer

    envelope = signed(statement(BUILD, MANIFEST, "99" * 32, AT), key)
    document, signer = verified(envelope, [key.public])

    assert signer.fingerprint == key.public.fingerprint
    Statement.copy_from_pb(ParseDict(document, Outer())).validate()
    slsa = ParseDict(document["predicate"], Provenance())  # refuses fields that SLSA has not
    for one in (*slsa.build_definition.resolved_dependencies, *slsa.run_details.byproducts):
        ResourceDescriptor.copy_from_pb(one).validate()
    assert slsa.run_details.metadata.finished_on.ToDatetime(UTC) == AT
    assert document["subject"][0]["digest"]["sha256"] == root_digest(MANIFEST)
    materials = document["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert {one["name"] for one in materials} == {
        "dataset",
        "training_set",
        "code",
        "events (DVC)",
        "environment",
        "repository",
    }


def test_a_signature_of_a_model_is_no_provenance(key: SigningKey) -> None:
    bundle = json.loads(sign_manifest(MANIFEST, "m", key))
    with pytest.raises(IntegrityError, match="no provenance"):
        verified(json.dumps(bundle["dsseEnvelope"]).encode(), [key.public])


@pytest.mark.slow
def test_the_bill_of_materials_is_strictly_cyclonedx(key: SigningKey) -> None:
    for build in (BUILD, Build(model="m", digest="0" * 64, flavor="pyfunc")):
        document = json.loads(validated(bill_of_materials(build, MANIFEST, AT)))
        assert document["metadata"]["component"]["type"] == "machine-learning-model"
    document = bill_of_materials(BUILD, MANIFEST, AT)
    refs = {component["bom-ref"] for component in document["components"]}
    assert refs == {
        "data:dataset",
        "data:training_set",
        "pkg:pypi/numpy@2.3.1",
        "pkg:pypi/torch@2.13.0%2Bcpu",
    }
    card = document["metadata"]["component"]["modelCard"]
    assert card["quantitativeAnalysis"]["performanceMetrics"][0] == {
        "type": "auc_roc",
        "value": "0.87",
        "slice": "held-out period",
    }

    document["metadata"]["component"]["modelcard"] = {}
    with pytest.raises(IntegrityError, match=r"not CycloneDX 1\.6"):
        validated(document)
